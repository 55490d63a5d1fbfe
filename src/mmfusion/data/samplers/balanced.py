"""Class-balanced batches."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from mmfusion.data.samplers.epochs import EpochBatches, class_codes
from mmfusion.option_checks import checked
from mmfusion.options import Cases, OneOf


class ClassBalancedBatches(EpochBatches):
    """The same number of cases of each class in every batch: ``floor(batch_size / k)``.

    An epoch is ``ceil(n / batch_size)`` batches, as many as without balancing, or one pass over the largest class. Each
    class is drawn in shuffled passes over its cases: a small class is repeated, in a new order each time.

    The attribute ``batch_size`` is the actual size of the batches, ``k * floor(batch_size / k)``.

    Args:
        labels: Class of each case, shape ``(n,)``.
        batch_size: Largest number of cases per batch.
        epoch: ``"cases"``; or ``"largest"``: as many full batches as one pass over the largest class gives.
        seed: Determines the batches, together with the epoch.

    Raises:
        ValueError: If there are no labels, the batch is smaller than the number of classes, or ``epoch`` is unknown.
    """

    @checked
    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        batch_size: Cases,
        seed: int = 0,
        epoch: Annotated[str, OneOf(("cases", "largest"))] = "cases",
    ) -> None:
        codes = class_codes(labels, "ClassBalancedBatches")
        self.members = [torch.nonzero(codes == code).flatten() for code in sorted(set(codes.tolist()))]
        if batch_size < len(self.members):
            raise ValueError(
                f"ClassBalancedBatches expects a batch_size of at least the number of classes, {len(self.members)}, "
                f"got {batch_size}"
            )
        self.share = batch_size // len(self.members)
        super().__init__(self.share * len(self.members), seed)
        largest = max(1, max(len(members) for members in self.members) // self.share)
        self._length = largest if epoch == "largest" else math.ceil(len(codes) / batch_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        generator = self.generator()
        drawn = [self._passes(members, generator) for members in self.members]
        for start in range(0, self._length * self.share, self.share):
            batch = torch.cat([order[start : start + self.share] for order in drawn])
            # Shuffled, so that a process that takes a share of the batch gets cases of all classes.
            yield batch[torch.randperm(len(batch), generator=generator)].tolist()

    def _passes(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """Cases of one class for an epoch, pass after pass, shape ``(at least length * share,)``."""
        n_passes = math.ceil(self._length * self.share / len(members))
        return torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(n_passes)])
