"""Prototypes that remember earlier batches.

A batch of 36 holds few cases of a rare class, or none. Here its prototype comes from earlier batches too: from a
moving average of the class means, or from the embeddings of the last cases seen. NOTE[DIFF] CFCML's prototypes come
from the batch alone, which is the default everywhere.

Only this batch's part of a prototype carries gradient. The memory changes in training mode alone, is part of the state
dict, and is the same on all processes, because each of them sees the batch of all.
"""

from typing import Annotated, TypeAlias

import torch
from torch import Tensor, nn

from mmfusion.losses.prototypes import Prototypes, class_means, membership, prototypes_of_means, prototypes_of_units
from mmfusion.options import Count, NClasses, Range, Width
from mmfusion.registry import prototypes

Momentum: TypeAlias = Annotated[float, Range(0, 1, below=True)]
"""Share of the past in a moving average."""
MemorySize: TypeAlias = Annotated[int, Range(1, 10**6)]
"""Cases that are remembered."""


class _Remembering(nn.Module):
    def __init__(self, n_modalities: int, n_classes: int, dim: int) -> None:
        super().__init__()
        self.n_modalities, self.n_classes, self.dim = n_modalities, n_classes, dim

    def _check(self, units: Tensor) -> None:
        if (units.shape[0], units.shape[2]) != (self.n_modalities, self.dim):
            raise ValueError(
                f"these prototypes were built for {self.n_modalities} modalities of width {self.dim}, the embeddings "
                f"are {units.shape[0]} modalities of width {units.shape[2]}"
            )


@prototypes.register("batch")
def batch() -> None:
    """Prototypes of the batch alone."""


@prototypes.register("moving")
class MovingPrototypes(_Remembering):
    """Prototypes from an exponential moving average of the class means.

    ``mean[m, k] <- momentum * mean[m, k] + (1 - momentum) * mean of the batch``, for the classes in the batch; the
    first batch with a class sets it. A class that is not in the batch keeps its prototype, as a constant.

    Args:
        n_modalities: m.
        n_classes: k.
        dim: d.
        momentum: Share of the past, at least 0 and less than 1.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, n_modalities: Count, n_classes: NClasses, dim: Width, *, momentum: Momentum = 0.9) -> None:
        super().__init__(n_modalities, n_classes, dim)
        self.momentum = momentum
        self.means = nn.Buffer(torch.zeros(n_modalities, n_classes, dim))
        self.seen = nn.Buffer(torch.zeros(n_modalities, n_classes, dtype=torch.bool))

    def forward(self, units: Tensor, labels: Tensor, counted: Tensor) -> Prototypes:
        """Prototypes of the past and this batch.

        Args:
            units: Shape ``(m, b, d)``.
            labels: Shape ``(b,)``, int64; out of range is ignored.
            counted: Which case counts in which modality, shape ``(m, b)``, bool.

        Returns:
            The prototypes.

        Raises:
            ValueError: If there are other modalities or another width than it was built for.
        """
        self._check(units)
        batch, present = class_means(units, membership(labels, self.n_classes), counted)
        # Copies: what autograd keeps for the backward pass must not be written over by the update below.
        past, seen = self.means.to(units.dtype, copy=True), self.seen.clone()
        momentum = self.momentum * seen.to(units.dtype).unsqueeze(-1)
        means = torch.where(present.unsqueeze(-1), momentum * past + (1 - momentum) * batch, past)
        if self.training:
            with torch.no_grad():
                # A batch that is not finite ends the run or is skipped by the loss scaler; it must not stay in here.
                sound = means.isfinite().all(-1)
                self.means.copy_(torch.where(sound.unsqueeze(-1), means, past))
                self.seen.copy_(seen | (present & sound))
        return prototypes_of_means(means, seen | present)

    def extra_repr(self) -> str:
        """The sizes, for printing."""
        return f"{self.n_modalities}, {self.n_classes}, {self.dim}, momentum={self.momentum}"


@prototypes.register("memory")
class MemoryPrototypes(_Remembering):
    """Prototypes from this batch and the last cases before it, all with equal weight.

    Args:
        n_modalities: m.
        n_classes: k.
        dim: d.
        size: Cases remembered, first in, first out.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, n_modalities: Count, n_classes: NClasses, dim: Width, *, size: MemorySize = 1024) -> None:
        super().__init__(n_modalities, n_classes, dim)
        self.size = size
        self.units = nn.Buffer(torch.zeros(n_modalities, size, dim))
        self.labels = nn.Buffer(torch.full((size,), -1))
        self.counted = nn.Buffer(torch.zeros(n_modalities, size, dtype=torch.bool))
        self.position = nn.Buffer(torch.zeros((), dtype=torch.int64))

    def forward(self, units: Tensor, labels: Tensor, counted: Tensor) -> Prototypes:
        """Prototypes of the memory and this batch.

        Args:
            units: Shape ``(m, b, d)``.
            labels: Shape ``(b,)``, int64; out of range is ignored.
            counted: Which case counts in which modality, shape ``(m, b)``, bool.

        Returns:
            The prototypes.

        Raises:
            ValueError: If there are other modalities or another width than it was built for.
        """
        self._check(units)
        together = prototypes_of_units(
            torch.cat([units, self.units.to(units.dtype)], 1),
            membership(torch.cat([labels, self.labels]), self.n_classes),
            torch.cat([counted, self.counted], 1),
        )
        if self.training:
            self._remember(units.detach(), labels, counted)
        return together

    def _remember(self, units: Tensor, labels: Tensor, counted: Tensor) -> None:
        n = min(len(labels), self.size)
        units, labels, counted = units[:, -n:], labels[-n:], counted[:, -n:]
        counted = counted & units.isfinite().all(-1)
        units = torch.where(counted.unsqueeze(-1), units, 0.0).to(self.units.dtype)
        slots = (self.position + torch.arange(n, device=labels.device)) % self.size
        # New tensors, not writes into the old: autograd may hold those for the backward pass.
        self.units.copy_(self.units.index_copy(1, slots, units))
        self.labels.copy_(self.labels.index_copy(0, slots, labels))
        self.counted.copy_(self.counted.index_copy(1, slots, counted))
        self.position.copy_((self.position + n) % self.size)

    def extra_repr(self) -> str:
        """The sizes, for printing."""
        return f"{self.n_modalities}, {self.n_classes}, {self.dim}, size={self.size}"
