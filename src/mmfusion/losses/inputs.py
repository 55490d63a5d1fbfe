"""What the terms look at, in the shapes that they compute on."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.tokens import LossInputs, Present
from mmfusion.utils.precision import full_precision

Embeddings: TypeAlias = Mapping[str, Tensor] | Sequence[Tensor] | Tensor
"""One ``(b, d)`` a modality, by name or in order, or all of them stacked, ``(m, b, d)``."""


def loss_inputs(
    inputs: LossInputs | Embeddings,
    labels: Tensor | None = None,
    present: Present | Tensor | None = None,
    aux: Mapping[str, Tensor] | None = None,
) -> LossInputs:
    """One form of the two ways in which terms and banks are called.

    Args:
        inputs: Loss inputs, returned as they are; or embeddings, whose modalities are named ``"0"``, ``"1"`` and so on
            where they have no names.
        labels: Shape ``(b,)`` int64; with embeddings only. None: no target, for a term that needs none.
        present: Which cases have which modality, by name or ``(m, b)``; with embeddings only.
        aux: More tensors by name; with embeddings only.

    Returns:
        Loss inputs with the target ``"label"``.

    Raises:
        ValueError: If presence does not fit the embeddings, or something stands beside loss inputs.
    """
    if isinstance(inputs, LossInputs):
        if labels is not None or present is not None or aux is not None:
            raise ValueError("labels, present and aux are part of LossInputs: give them there, or give embeddings")
        return inputs
    named = inputs if isinstance(inputs, Mapping) else {str(i): e for i, e in enumerate(inputs)}
    if isinstance(present, Tensor):
        if len(present) != len(named):
            raise ValueError(
                f"present must be bool of shape (m, b) for {len(named)} modalities, got {tuple(present.shape)}"
            )
        present = {name: present[i] for i, name in enumerate(named)}
    elif present and not isinstance(inputs, Mapping):
        raise ValueError("present by name needs embeddings by name; with stacked embeddings give present as (m, b)")
    return LossInputs({}, named, {} if labels is None else {"label": labels}, present or {}, aux or {})


def stack_embeddings(embeddings: Embeddings) -> Tensor:
    """All modalities as one tensor.

    Args:
        embeddings: A dict or a sequence of ``(b, d)``, or ``(m, b, d)``.

    Returns:
        Shape ``(m, b, d)``, in float32 or float64.

    Raises:
        ValueError: If shapes or dtypes do not fit; the modality is named.
    """
    if isinstance(embeddings, Tensor):
        if embeddings.ndim != 3 or not embeddings.is_floating_point():
            raise ValueError(
                "stacked embeddings must be floating point of shape (m, b, d), "
                f"got {embeddings.dtype} {tuple(embeddings.shape)}"
            )
        return full_precision(embeddings)
    named = embeddings if isinstance(embeddings, Mapping) else {str(i): e for i, e in enumerate(embeddings)}
    if not named:
        raise ValueError("at least one modality's embeddings are needed, got none")
    first = next(iter(named.values()))
    for name, embedding in named.items():
        if embedding.ndim != 2 or not embedding.is_floating_point() or embedding.shape != first.shape:
            raise ValueError(
                "embeddings must be floating point of one shape (b, d) in all modalities; the first has "
                f"{tuple(first.shape)}, {name!r} has {embedding.dtype} {tuple(embedding.shape)}"
            )
    return torch.stack([full_precision(embedding) for embedding in named.values()])


def stack_present(embeddings: Embeddings, present: Present | Tensor | None, like: Tensor) -> Tensor:
    """Which cases have which modality, as one tensor.

    Args:
        embeddings: Gives the names and the order.
        present: By name, ``(b,)`` bool, a name left out has all; or ``(m, b)`` bool; or None, all.
        like: Stacked embeddings, shape ``(m, b, d)``.

    Returns:
        Shape ``(m, b)``, bool; True is there.

    Raises:
        ValueError: If a shape or dtype does not fit, or names are given for embeddings that have none.
    """
    everything = torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)
    if present is None or (isinstance(present, Mapping) and not present):
        return everything
    if isinstance(present, Tensor):
        if present.dtype != torch.bool or present.shape != everything.shape:
            raise ValueError(
                f"present must be bool of shape {tuple(everything.shape)}, got {present.dtype} {tuple(present.shape)}"
            )
        return present
    if not isinstance(embeddings, Mapping):
        raise ValueError("present by name needs embeddings by name; with stacked embeddings give present as (m, b)")
    rows = [present.get(name, everything[i]) for i, name in enumerate(embeddings)]
    for name, row in zip(embeddings, rows, strict=True):
        if row.dtype != torch.bool or row.shape != everything.shape[1:]:
            raise ValueError(
                f"present[{name!r}] must be bool of shape ({like.shape[1]},), got {row.dtype} {tuple(row.shape)}"
            )
    return torch.stack(rows)


class Units(NamedTuple):
    """The directions of the embeddings.

    Attributes:
        x: Shape ``(m, b, d)``, of length 1; zero where a case lacks the modality, or its embedding is zero.
        present: Shape ``(m, b)``, bool; True is there.
    """

    x: Tensor
    present: Tensor


def units_of(embeddings: Embeddings, present: Present | Tensor | None = None) -> Units:
    """Stack and normalise; what a case lacks is replaced by zeros before, so that it may hold anything.

    Args:
        embeddings: A dict or a sequence of ``(b, d)``, or ``(m, b, d)``.
        present: Which cases have which modality.

    Returns:
        Directions and presence.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    x = stack_embeddings(embeddings)
    if not isinstance(present, Tensor) and not present:
        return Units(unit(x), torch.ones(x.shape[:2], dtype=torch.bool, device=x.device))
    there = stack_present(embeddings, present, x)
    return Units(unit(torch.where(there.unsqueeze(-1), x, 0.0)), there)


class ModalityPairs(NamedTuple):
    """Two modalities side by side, for each pair of them.

    Attributes:
        first: Directions in the one modality, shape ``(p, b, d)`` for p pairs.
        second: In the other, the same shape.
        both: Which cases have both, shape ``(p, b)``, bool.
    """

    first: Tensor
    second: Tensor
    both: Tensor


def modality_pairs(inputs: LossInputs, pairs: Sequence[tuple[str, str]] | None = None) -> ModalityPairs:
    """The directions of pairs of modalities.

    Args:
        inputs: Loss inputs with at least two modalities' embeddings, of one width.
        pairs: Names; None: every pair once.

    Returns:
        The pairs, stacked.

    Raises:
        ValueError: If there are fewer than two modalities, or a name is not among them, or shapes do not fit.
    """
    names = list(inputs.embeddings)
    if len(names) < 2:
        raise ValueError(f"a crossmodal term needs the embeddings of at least two modalities, got {names}")
    if unknown := sorted({name for pair in pairs or () for name in pair} - set(names)):
        raise ValueError(f"there are no embeddings {unknown}, there are {names}: mend the term's pairs")
    x, there = units_of(inputs.embeddings, inputs.present)
    index = (
        list(itertools.combinations(range(len(names)), 2))
        if pairs is None
        else [(names.index(one), names.index(other)) for one, other in pairs]
    )
    first, second = ([pair[side] for pair in index] for side in (0, 1))
    return ModalityPairs(x[first], x[second], there[first] & there[second])


def check_labels(labels: Tensor, n_cases: int) -> None:
    """Refuse labels of the wrong dtype or shape.

    Raises:
        ValueError: If labels are not ``(b,)`` int64.
    """
    if not isinstance(labels, Tensor):
        raise ValueError(f"labels must be a tensor, int64 of shape ({n_cases},), got {type(labels).__name__}")
    if labels.dtype != torch.int64 or labels.shape != (n_cases,):
        raise ValueError(f"labels must be int64 of shape ({n_cases},), got {labels.dtype} {tuple(labels.shape)}")


def check_label_range(labels: Tensor, n_classes: int) -> None:
    """Refuse class indices out of range.

    Raises:
        ValueError: With the smallest and the largest label.
    """
    if labels.numel() and bool(((labels < 0) | (labels >= n_classes)).any()):
        low, high = int(torch.min(labels)), int(torch.max(labels))
        raise ValueError(f"labels must lie in 0..{n_classes - 1}, got {low} to {high}")


def single_target(inputs: LossInputs) -> Tensor:
    """The labels of the only target.

    Raises:
        ValueError: If there are none, or several.
    """
    if not inputs.targets:
        raise ValueError("labels are needed beside embeddings: call term(embeddings, labels)")
    if len(inputs.targets) != 1:
        raise ValueError(f"this term works on one target, there are {sorted(inputs.targets)}")
    return next(iter(inputs.targets.values()))
