"""Rows of a batch: the cases that have a modality, taken out and put back.

An absent modality contributes exactly nothing: its rows never reach an encoder or a tokenizer. Where shapes must not
depend on values (under compile and export) all rows go through, absent ones zeroed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmfusion.layers.presence import where_present
from mmfusion.tokens import Bag, Content, Inputs, Maps, Present, Table, Tokens


class Rows(NamedTuple):
    """The cases of a batch that have a modality.

    Attributes:
        present: Shape ``(b,)``, bool.
        where: Shape ``(r,)``, int64: their positions in the batch; None where shapes are static.
    """

    present: Tensor
    where: Tensor | None

    @classmethod
    def of(cls, present: Tensor, *, static: bool) -> "Rows":
        """From presence, shape ``(b,)`` bool."""
        return cls(present, None if static else present.nonzero().squeeze(1))

    @property
    def all(self) -> bool:
        """Whether no row is taken out."""
        return self.where is not None and len(self.where) == len(self.present)

    def take(self, x: Tensor) -> Tensor:
        """Rows of ``(b, ...)`` that are present, ``(r, ...)``; static: all, absent ones zeroed."""
        if self.where is None:
            return self._zeroed(x)
        return x if self.all else x[self.where]

    def put(self, x: Tensor) -> Tensor:
        """The inverse of :meth:`take`: ``(b, ...)`` with zeros in absent rows."""
        if self.where is None:
            return self._zeroed(x)
        return x if self.all else x.new_zeros(len(self.present), *x.shape[1:]).index_copy(0, self.where, x)

    def again(self, x: Tensor) -> Tensor:
        """:meth:`take` of what :meth:`put` gave, without a second zeroing."""
        return x if self.where is None or self.all else x[self.where]

    def take_content(self, content: Content) -> Content:
        """:meth:`take` of an image, a bag, maps or a table."""
        if isinstance(content, Bag):
            if self.where is None:
                return Bag(content.x, content.mask & self.present.unsqueeze(1))
            return Bag(self.take(content.x), self.take(content.mask))
        if isinstance(content, Table):
            return Table(self.take(content.numerical), self.take(content.categorical))
        if isinstance(content, Maps):
            return Maps(tuple(self.take(stage) for stage in content.stages))
        return self.take(content)

    def put_tokens(self, tokens: Tokens) -> Tokens:
        """Tokens of the present rows in their places in the batch; those of absent rows are masked zeros."""
        if self.all:
            return tokens
        mask = tokens.real()
        if self.where is None:
            mask = mask & self.present.unsqueeze(1)
            return Tokens(Tokens(tokens.x, mask).filled(), mask)
        return Tokens(self.put(tokens.x), self.put(mask))

    def _zeroed(self, x: Tensor) -> Tensor:
        return where_present(x, self.present, x.new_zeros(()))


def device_of(inputs: Inputs, present: Present) -> torch.device:
    """Where a batch is; one of the two is not empty."""
    value = next(iter((*inputs.values(), *present.values())))
    if isinstance(value, Maps | Bag):
        return value.mask.device if isinstance(value, Bag) else value.stages[0].device
    return value.numerical.device if isinstance(value, Table) else value.device


def absent_tokens(n_cases: int, n: int, dim: int, like: Tensor) -> Tokens:
    """``(n_cases, n, dim)`` masked zeros, of cases that all lack a modality."""
    return Tokens(like.new_zeros(n_cases, n, dim), torch.zeros(n_cases, n, dtype=torch.bool, device=like.device))


def concatenated(parts: Sequence[Tokens]) -> Tokens:
    """Sets of a single token, their features concatenated; masked for a case of which every set is."""
    masks = [tokens.mask for tokens in parts if tokens.mask is not None]
    x = torch.cat([tokens.filled() for tokens in parts], 2)
    return Tokens(x, torch.stack(masks).any(0) if len(masks) == len(parts) else None)
