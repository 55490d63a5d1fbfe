"""Rows that are there: a missing modality contributes exactly nothing."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mmfusion.tokens import Content, Inputs, Maps, Present, Table, Tokens


def device_of(inputs: Inputs, present: Present) -> torch.device:
    """Where a batch is; one of the two holds something."""
    value = next(iter((*inputs.values(), *present.values())))
    if isinstance(value, Maps):
        return value.stages[0].device
    return value.numerical.device if isinstance(value, Table) else value.device


def kept(content: Content, there: Tensor, static: bool) -> tuple[Content, Tensor]:
    """The rows that are there, and their numbers; with static shapes all rows, the others zeroed."""
    if isinstance(content, Table):
        numerical, rows = _kept_rows(content.numerical, there, static)
        categorical, _ = _kept_rows(content.categorical, there, static)
        return Table(numerical, categorical), rows
    if isinstance(content, Maps):
        found = [_kept_rows(stage, there, static) for stage in content.stages]
        return Maps(tuple(stage for stage, _ in found)), found[0][1]
    return _kept_rows(content, there, static)


def _kept_rows(x: Tensor, there: Tensor, static: bool) -> tuple[Tensor, Tensor]:
    if static:
        return torch.where(there.view(-1, *(1,) * (x.ndim - 1)), x, x.new_zeros(())), there
    rows = there.nonzero().squeeze(1)
    return (x, rows) if len(rows) == len(x) else (x[rows], rows)


def scattered(tokens: Tokens, rows: Tensor, there: Tensor, static: bool) -> Tokens:
    """Tokens of the rows that are there at their places among all cases; the others are masked zeros."""
    mask = (
        torch.ones(tokens.x.shape[:2], dtype=torch.bool, device=tokens.x.device) if tokens.mask is None else tokens.mask
    )
    if static:
        mask = mask & there.unsqueeze(1)
        return Tokens(Tokens(tokens.x, mask).filled(), mask)
    if len(rows) == len(there):
        return tokens
    x = tokens.x.new_zeros(len(there), *tokens.x.shape[1:])
    full = mask.new_zeros(len(there), mask.shape[1])
    return Tokens(x.index_copy(0, rows, tokens.x), full.index_copy(0, rows, mask))


def spread(x: Tensor, there: Tensor, rows: Tensor, static: bool) -> Tensor:
    """Maps of the rows that are there at their places among all cases; the others are zeros."""
    if static:
        return torch.where(there.view(-1, *(1,) * (x.ndim - 1)), x, x.new_zeros(()))
    if len(rows) == len(there):
        return x
    return x.new_zeros(len(there), *x.shape[1:]).index_copy(0, rows, x)


def gathered(x: Tensor, there: Tensor, rows: Tensor, static: bool) -> Tensor:
    """The inverse of :func:`spread`."""
    return x if static or len(rows) == len(there) else x[rows]


def masked(n_cases: int, n: int, dim: int, like: Tensor) -> Tokens:
    """Tokens of cases that all lack them."""
    return Tokens(like.new_zeros(n_cases, n, dim), torch.zeros(n_cases, n, dtype=torch.bool, device=like.device))


def side_by_side(parts: Sequence[Tokens]) -> Tokens:
    """The features of several sets of tokens as one's; zeros for what a case lacks, masked where it lacks all."""
    masks = [tokens.mask for tokens in parts if tokens.mask is not None]
    x = torch.cat([tokens.filled() for tokens in parts], 2)
    return Tokens(x, torch.stack(masks).any(0) if len(masks) == len(parts) else None)
