"""Which cases are explained: the worst, the best, random ones, or those that are named."""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmfusion.metrics.ranking import Floats

WORST, BEST, RANDOM = "worst", "best", "random"
WORDS = {WORST: "highest loss", BEST: "lowest loss", RANDOM: "drawn at random"}
"""Requests that are no identifiers, and the reason that a sheet gives for its choice."""
NAMED = "named"
_ESCAPE = "id:"
_CLOSE = 3


class Chosen(NamedTuple):
    """A case to explain.

    Attributes:
        position: In the set.
        why: In words.
    """

    position: int
    why: str


def requests_of(cases: str | Sequence[str]) -> tuple[str, ...]:
    """Requests, from a text that divides them by commas, or a list of texts, each of which may.

    Raises:
        ValueError: If there is none.
    """
    texts = [cases] if isinstance(cases, str) else list(cases)
    if not all(isinstance(text, str) for text in texts) or not any(text.strip(" ,") for text in texts):
        raise ValueError(f"cases expects {', '.join(WORDS)} or names of cases, got {cases!r}")
    return tuple(texts)


def choose(cases: str | Sequence[str], ids: Sequence[str], losses: Floats | None, *, n: int, seed: int) -> list[Chosen]:
    """Cases of a set.

    Named cases are all taken. What they leave of ``n`` is shared by ``worst``, ``best`` and ``random``, the first of
    them getting one more where it does not divide; no case comes twice.

    Args:
        cases: Requests: ``"worst"``, ``"best"``, ``"random"``, or a case's name; in one text divided by commas, or a
            list. A case that is called like a request, or has a comma, is ``"id:NAME"`` alone in its text.
        ids: Names of the set's cases.
        losses: Shape ``(n,)``; NaN for a case without a label, or whose output is not finite. None: nothing has labels.
        n: Cases in all, unless more are named.
        seed: Of ``random``.

    Raises:
        ValueError: If a name is unknown (all of them, each with the nearest ones), the best or worst are asked for
            without labels, or the set is empty.
    """
    if not ids:
        raise ValueError("cases expects a set with cases, and there is none")
    position = {name: i for i, name in enumerate(ids)}
    words: list[str] = []
    names: list[str] = []
    for request in _divided(requests_of(cases), position):
        (words if request in WORDS else names).append(request)
    named = [name.removeprefix(_ESCAPE) if name not in position else name for name in names]
    if unknown := [name for name in named if name not in position]:
        raise ValueError(
            f"cases expects {', '.join(WORDS)} or names of the set's {len(ids)} cases, got "
            + "; ".join(_unknown(name, ids) for name in dict.fromkeys(unknown))
        )
    chosen = [Chosen(position[name], NAMED) for name in dict.fromkeys(named)]
    words = list(dict.fromkeys(words))
    ranked = [word for word in words if word != RANDOM]
    if ranked and (losses is None or not np.isfinite(losses).any()):
        raise ValueError(
            f"cases={', '.join(ranked)} needs labels, and no case of the set has one with a finite output: name "
            "cases, or take random"
        )
    left = max(0, min(n, len(ids)) - len(chosen))
    for k, word in enumerate(words):
        share = left // len(words) + (k < left % len(words))
        taken = {one.position for one in chosen}
        order = [i for i in _order(word, len(ids), losses, seed) if i not in taken]
        chosen += [Chosen(i, WORDS[word]) for i in order[:share]]
    return chosen


def _divided(texts: Sequence[str], known: dict[str, int]) -> list[str]:
    """Each request; a text that is a case's name, or says that it is one, is not divided."""
    requests = []
    for text in texts:
        if text in known or text.startswith(_ESCAPE):
            requests.append(text)
        else:
            requests += [part for word in text.split(",") if (part := word.strip())]
    return requests


def _order(word: str, n: int, losses: Floats | None, seed: int) -> list[int]:
    if word == RANDOM or losses is None:
        return [int(i) for i in np.random.default_rng(seed).permutation(n)]
    known = np.flatnonzero(np.isfinite(losses))
    # Stable: of equal losses the first case of the set.
    by_loss = known[np.argsort(-losses[known] if word == WORST else losses[known], kind="stable")]
    return [int(i) for i in by_loss]


def _unknown(name: str, ids: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, ids, _CLOSE, 0.5)
    near = f" (near: {', '.join(map(repr, close))})" if close else f" (the first is {ids[0]!r})"
    return f"{name!r}{near}"
