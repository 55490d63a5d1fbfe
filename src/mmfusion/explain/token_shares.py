"""What tokens are made of: positions of a map, or columns of a table."""

import math
from typing import cast

import torch
from torch import Tensor

from mmfusion.explain.coalition_values import known_cells, only_cells
from mmfusion.explain.undisturbed import plain, undisturbed
from mmfusion.models import FusionModel
from mmfusion.models.bags import without_empty
from mmfusion.models.rows import Rows
from mmfusion.tokens import Bag, Inputs, Present, Table, Tokens

_N_DIRECTIONS = 4


def token_shares(
    model: FusionModel, inputs: Inputs, present: Present | None = None, *, name: str, stage: int = -1
) -> Tensor:
    """What a modality's tokens are made of, before any token fusion.

    For an image, how long a token's gradient by each position of its map is (of a bag, of its pooled map), on average
    over four directions; for a table, how far a token moves when a column goes missing. With it, attention of tokens is
    attention of columns and regions: ``shares_of_queries.mT @ weights @ shares_of_keys``.

    Args:
        model: In any mode.
        inputs: As the model's, images as pixels.
        present: As the model's.
        name: The modality, one with tokens.
        stage: Of the image's encoder, from 0, or -1 back; a table has the same tokens at each.

    Returns:
        Shape ``(b, n_tokens, n)`` for n positions in row-major order, or columns. A row sums to 1; or to 0 for a token
        that none of them moves, such as a [CLS], and for a case that lacks the modality.

    Raises:
        ValueError: If there are no tokens of that name, no such stage, or the inputs do not fit the model.
    """
    if name not in model.tokenizers:
        raise ValueError(f"name expects a modality with tokens, one of {list(model.tokenizers)}, got {name!r}")
    n_stages = len(model.encoders.map_shapes[name]) if name in model.images else 1
    if name in model.images and not -n_stages <= stage < n_stages:
        raise ValueError(f"stage expects one of the {n_stages} of {name!r}, from 0, or -1 back, got {stage}")
    inputs = plain(inputs)
    mask = without_empty({name: x for name, x in inputs.items() if isinstance(x, Bag)}, present or {}).get(name)
    with undisturbed(model, gradients=name in model.images):
        if name not in inputs or (mask is not None and not bool(mask.any())):
            return _of_no_case(model, inputs, present, name, stage)
        if name in model.images:
            stages = model.trace(inputs, present).stages
            if name not in stages:  # every bag is empty
                return _of_no_case(model, inputs, present, name, stage)
            shares = _of_positions(model, name, stages[name], stage)
        else:
            table = cast("Table", inputs[name])
            shares = _of_columns(model, name, table if mask is None else _rows(table, mask))
    shares = shares / shares.sum(2, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
    return shares if mask is None else Rows.of(mask, static=False).put(shares)


def _of_no_case(model: FusionModel, inputs: Inputs, present: Present | None, name: str, stage: int) -> Tensor:
    """Zeros, where no case has the modality."""
    x = model.tokenize(inputs, present)[-1][name].x  # an error of the model if it is lacking for another reason
    shapes = model.token_shapes[name]
    n_tokens = shapes[stage if len(shapes) > 1 else 0].n_tokens
    is_table = name in model.columns
    n = len(model.columns[name].names) if is_table else math.prod(model.encoders.map_shapes[name][stage][1:])
    return x.new_zeros(len(x), n_tokens, n)


def _of_positions(model: FusionModel, name: str, maps: tuple[Tensor, ...], stage: int) -> Tensor:
    leaves = tuple(x.detach().requires_grad_() for x in maps)
    sets: tuple[Tokens, ...] = model.tokenizers[name](leaves)
    x, leaf = sets[stage if len(sets) > 1 else 0].x, leaves[stage]
    generator = torch.Generator().manual_seed(0)
    lengths = []
    for t in range(x.shape[1]):
        total = leaf.new_zeros(len(leaf), leaf[0, 0].numel())
        for _ in range(_N_DIRECTIONS):
            along = torch.randint(0, 2, x.shape[2:], generator=generator).to(x) * 2 - 1
            (gradient,) = torch.autograd.grad((x[:, t] @ along).sum(), leaf, retain_graph=True, materialize_grads=True)
            total += gradient.flatten(2).norm(dim=1)
        lengths.append(total)
    return torch.stack(lengths, 1)


def _of_columns(model: FusionModel, name: str, table: Table) -> Tensor:
    (whole,), known = model.tokenizers[name](table), known_cells(table)
    moved = []
    for column in range(known.shape[1]):
        less = known.clone()
        less[:, column] = False
        (without,) = model.tokenizers[name](only_cells(table, less))
        moved.append((without.filled() - whole.filled()).norm(dim=2))
    return torch.stack(moved, 2)


def _rows(table: Table, mask: Tensor) -> Table:
    return Table(table.numerical[mask], table.categorical[mask])
