"""The types that pass between the parts of a fusion model.

Letters, in every docstring of the package: b batch, n tokens, d dim, m modalities, k classes, s stages.
In every boolean mask **True means real**; ``torch.nn.MultiheadAttention`` uses the opposite.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmfusion.option_checks import check_fields
from mmfusion.options import Range


class Table(NamedTuple):
    """The tabular records of a batch.

    Attributes:
        numerical: Shape ``(b, n_num)``, float; NaN marks a missing cell.
        categorical: Shape ``(b, n_cat)``, int64; -1 marks a missing cell.
    """

    numerical: Tensor
    categorical: Tensor


class Bag(NamedTuple):
    """Several images per case of one modality, in no order.

    Attributes:
        x: Shape ``(b, k, channels, *spatial)``; k is any number that holds the largest bag of the batch. What is not
            real may hold anything.
        mask: Shape ``(b, k)``, bool; True is a real image. A case without any lacks the modality.
    """

    x: Tensor
    mask: Tensor


class Maps(NamedTuple):
    """What an encoder made of a batch of images, in place of the images: a frozen encoder need not run again.

    Attributes:
        stages: One map per stage, shape ``(b, c, *spatial)``, in network order; of a bag, pooled over its images.
    """

    stages: tuple[Tensor, ...]


class Tokens(NamedTuple):
    """A set of tokens for each case of a batch.

    Attributes:
        x: Shape ``(b, n, d)``.
        mask: Shape ``(b, n)``, bool; True is real, False is to be ignored. None: all are real.
    """

    x: Tensor
    mask: Tensor | None = None

    def filled(self) -> Tensor:
        """The tokens with every masked one replaced by zeros, shape ``(b, n, d)``.

        Replaced, not multiplied: 0 times NaN is NaN, and masked content must not leak.
        """
        if self.mask is None:
            return self.x
        return torch.where(self.mask.unsqueeze(-1), self.x, 0.0)

    def real(self) -> Tensor:
        """Which tokens are real, shape ``(b, n)`` bool, also where all are."""
        if self.mask is None:
            return torch.ones(self.x.shape[:2], dtype=torch.bool, device=self.x.device)
        return self.mask


def join(sets: Sequence[Tokens]) -> Tokens:
    """Several sets as one, along the token axis.

    Args:
        sets: Each ``(b, n_i, d)``.

    Returns:
        ``sum n_i`` tokens; a mask only if one of them has one.
    """
    x = torch.cat([tokens.x for tokens in sets], 1)
    masked = any(tokens.mask is not None for tokens in sets)
    return Tokens(x, torch.cat([tokens.real() for tokens in sets], 1) if masked else None)


@dataclass(frozen=True)
class TokenShape:
    """What is known of a set of tokens before any comes.

    Attributes:
        n_tokens: Number of tokens.
        dim: Width of a token.
        grid: Positions along each spatial axis, where the tokens are those of a map in row-major order; None: tokens
            without an arrangement in space, such as a table's.

    Raises:
        ValueError: If a size is not positive, or the grid has another number of positions than there are tokens.
    """

    n_tokens: Annotated[int, Range(1)]
    dim: Annotated[int, Range(1)]
    grid: tuple[Annotated[int, Range(1)], ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.grid is not None and (not self.grid or math.prod(self.grid) != self.n_tokens):
            raise ValueError(f"TokenShape expects a grid of n_tokens={self.n_tokens} positions, got {self.grid}")

    @classmethod
    def of_map(cls, shape: Sequence[int]) -> "TokenShape":
        """The positions of a map of shape ``(c, *spatial)``."""
        dim, *grid = shape
        return cls(math.prod(grid), dim, tuple(grid))


Content: TypeAlias = Tensor | Bag | Maps | Table
"""A modality's part of a batch: an image ``(b, channels, *spatial)``, 2D or 3D, or several per case, or its maps, or a
table."""

Inputs: TypeAlias = Mapping[str, Content]
"""One entry per modality."""

Present: TypeAlias = Mapping[str, Tensor]
"""Which cases have which modality: ``(b,)`` bool by modality; True is there. A name left out: all have it."""


class FusionOutput(NamedTuple):
    """What a fusion model returns.

    Attributes:
        outputs: One entry per target, shape ``(b, n_out)``: logits, or values for a regression.
        embeddings: One entry per modality, shape ``(b, d)``: what the loss bank works on.
        aux: Whatever else a method's own objective or explanation needs, by name.
    """

    outputs: dict[str, Tensor]
    embeddings: dict[str, Tensor]
    aux: dict[str, Tensor]

    @property
    def logits(self) -> Tensor:
        """The output of the only target, shape ``(b, n_out)``.

        Raises:
            ValueError: If there are several targets; take ``.outputs[name]`` then.
        """
        if len(self.outputs) != 1:
            raise ValueError(
                f"logits expects a model with one target, this one has {sorted(self.outputs)}: "
                "take .outputs[name] instead"
            )
        return next(iter(self.outputs.values()))


class LossInputs(NamedTuple):
    """What a loss term may look at.

    Attributes:
        outputs: As in :class:`FusionOutput`.
        embeddings: As in :class:`FusionOutput`.
        targets: One entry per target; class indices ``(b,)`` int64, or as its kind of target says.
        present: As :data:`Present`; empty means that every case has every modality.
        aux: As in :class:`FusionOutput`.
    """

    outputs: Mapping[str, Tensor]
    embeddings: Mapping[str, Tensor]
    targets: Mapping[str, Tensor]
    present: Present
    aux: Mapping[str, Tensor]
