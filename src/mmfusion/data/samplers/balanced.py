"""As many cases of each class in every batch."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from mmfusion.data.samplers.epochs import EpochBatches, class_codes
from mmfusion.option_checks import checked
from mmfusion.options import OneOf


class ClassBalancedBatches(EpochBatches):
    """The same number of cases of each class in every batch: ``floor(batch_size / k)``.

    An epoch is ``ceil(n / batch_size)`` batches, as many as without balancing, or one pass over the largest class. Each
    class is drawn in shuffled passes
    over its own cases: one that is smaller than its share comes round again, in a new order, once all of it was drawn.

    The attribute ``batch_size`` is what the batches really have, ``k * floor(batch_size / k)``.

    Args:
        labels: Class of each case, shape ``(n,)``.
        batch_size: Cases in a batch at most.
        epoch: ``"cases"``; or ``"largest"``: as many whole batches as the largest class fills with its share.
        seed: With the epoch, it determines the batches.

    Raises:
        ValueError: If there are no labels, the batch has no room for a case of each class, or the epoch is neither.
    """

    @checked
    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        batch_size: int,
        seed: int = 0,
        epoch: Annotated[str, OneOf(("cases", "largest"))] = "cases",
    ) -> None:
        codes = class_codes(labels, "ClassBalancedBatches")
        self.members = [torch.nonzero(codes == code).flatten() for code in sorted(set(codes.tolist()))]
        if batch_size < len(self.members):
            raise ValueError(
                f"ClassBalancedBatches expects a batch with room for a case of each of the {len(self.members)} "
                f"classes, got batch_size={batch_size}"
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
            # Shuffled, so that a process which takes a piece of the batch does not get one class alone.
            yield batch[torch.randperm(len(batch), generator=generator)].tolist()

    def _passes(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """As many cases of one class as an epoch needs, pass after pass, shape ``(at least length * share,)``."""
        n_passes = math.ceil(self._length * self.share / len(members))
        return torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(n_passes)])
