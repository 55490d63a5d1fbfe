"""Attention of a model's token fusions and pooling, computed on request: no module keeps its weights."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmfusion.explain.undisturbed import plain, undisturbed
from mmfusion.fusion.tokens.blocks import Attending, Attends, has_tokens
from mmfusion.layers.windows import Windows
from mmfusion.models import FusionModel
from mmfusion.tokens import Inputs, Present, Tokens


class Attention(NamedTuple):
    """How tokens of one set attend to those of another, in one attention.

    Attributes:
        block: The token fusion, ``"per_stage.0"`` or ``"layers.1"``, or the pooling's step, such as
            ``"pooling.stages.0.1"``.
        step: Which attention within the fusion or the pooling, from 0.
        query: The set that asks: a modality, or one that a fusion adds.
        key: The set that is asked.
        weights: Shape ``(b, n_heads, n_query, n_key)``. A query's weights sum to 1 over all sets that it asks; they are
            0 for what is masked, and for what shares no window with the query.
        grid: Of an attention within windows: positions along each axis of the two sets' maps, which the pooling may
            have shrunk. None: of tokens as they came.
    """

    block: str
    step: int
    query: str
    key: str
    weights: Tensor
    grid: tuple[int, ...] | None = None


def attention(model: FusionModel, inputs: Inputs, present: Present | None = None) -> list[Attention]:
    """The attention in a model's token fusions and its pooling, where they name their sets, as all registered ones do.

    Tokens of an image are the positions of its map, where ``model.token_shapes[name][stage].grid`` says so; a table's
    are its columns in order, behind a [CLS] where there is one. Of other tokens :func:`token_shares` says what they are
    made of.

    Args:
        model: In any mode.
        inputs: As the model's.
        present: As the model's.

    Returns:
        In the order of computation; empty for a model without attention between tokens.

    Raises:
        ValueError: If a fusion or the pooling computes other attentions than it names.
    """
    found = []
    with undisturbed(model):
        stages = [dict(tokens) for tokens in model.tokenize(plain(inputs), present)]
        for s, fusion in enumerate(model.per_stage):
            with _Recorder() as recorder:
                after = fusion(stages[s])
            found += list(_named(f"per_stage.{s}", fusion, recorder.weights, stages[s]))
            stages[s] = after
        for i, fusion in enumerate(model.layers):
            with _Recorder() as recorder:
                after = fusion(stages[-1])
            found += list(_named(f"layers.{i}", fusion, recorder.weights, stages[-1]))
            stages[-1] = after
        with _Recorder() as recorder:
            model.pooling(stages)
        found += list(_named("pooling", model.pooling, recorder.weights, stages[-1]))
    return found


class _Recorder(TorchFunctionMode):
    """Sees each ``scaled_dot_product_attention`` of this thread and computes its weights beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            self.weights.append(_weights(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _weights(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    weights: Tensor = scores.softmax(-1)
    return weights


def _named(block: str, part: object, weights: Sequence[Tensor], tokens: Mapping[str, Tokens]) -> Iterator[Attention]:
    attends = part.attends() if isinstance(part, Attending) else []
    if attends and len(attends) != len(weights):
        raise ValueError(f"{type(part).__name__}.attends names {len(attends)} attentions, there were {len(weights)}")
    for i, (named, of_pair) in enumerate(zip(attends, weights, strict=False)):
        if named.windows is not None:
            of_pair = _of_grid(of_pair, named)
        asking, asked = (
            _sets(names, n, tokens) for names, n in ((named.queries, of_pair.shape[2]), (named.keys, of_pair.shape[3]))
        )
        where = f"{block}.{named.where}" if named.where else block
        grid = None if named.windows is None else named.windows.grid
        by_query = torch.split(of_pair, [t.x.shape[1] for t in asking.values()], 2)
        for query, rows in zip(named.queries, by_query, strict=True):
            by_key = torch.split(rows, [t.x.shape[1] for t in asked.values()], 3)
            for key, x in zip(named.keys, by_key, strict=True):
                real = asking[query].mask, asked[key].mask
                if real[0] is not None:
                    x = torch.where(real[0][:, None, :, None], x, 0.0)
                if real[1] is not None:
                    x = torch.where(real[1][:, None, None, :], x, 0.0)
                yield Attention(where, i, query, key, x, grid)


def _of_grid(weights: Tensor, named: Attends) -> Tensor:
    """From ``(b, w * h, t, sets * t)`` within windows to ``(b, h, n, sets * n)`` of the grid."""
    windows = cast("Windows", named.windows)
    w, sets = len(windows.position), len(named.keys)
    pairs = rearrange(weights, "b (w h) t (sets seen) -> b h sets w t seen", w=w, sets=sets)
    return rearrange(windows.whole(pairs), "b h sets n seen -> b h n (sets seen)")


def _sets(names: Sequence[str], n: int, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
    """The sets by name, n tokens together; one that the part adds has the tokens that are left of n."""
    known = {name: tokens[name] for name in names if name in tokens}
    if len(known) == len(names) and sum(t.x.shape[1] for t in known.values()) != n:
        # The part has made other tokens of them, such as a mean: these are there where the set has any.
        return {name: _resized(t, n // len(names)) for name, t in known.items()}
    left = n - sum(t.x.shape[1] for t in known.values())
    like = next(iter(tokens.values())).x
    return {name: known[name] if name in known else Tokens(like.new_zeros(len(like), left, 1)) for name in names}


def _resized(tokens: Tokens, n: int) -> Tokens:
    has = has_tokens(tokens)
    return Tokens(tokens.x.new_zeros(len(tokens.x), n, 1), None if has is None else has.unsqueeze(1).expand(-1, n))
