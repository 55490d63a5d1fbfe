"""Shuffled batches."""

import math
from collections.abc import Iterator

import torch

from mmfusion.data.samplers.epochs import EpochBatches
from mmfusion.option_checks import checked
from mmfusion.options import Cases


class ShuffledBatches(EpochBatches):
    """Every case once per epoch, in random order.

    A last batch of a single case has no batch statistics, so that training on it would fail: it gets a second case, the
    first one of the epoch. (Moving a case to or from the batch before it would change that batch's size, which
    Accelerate does not support.)

    Args:
        n: Number of cases.
        batch_size: Cases per batch.
        seed: Determines the order, together with the epoch.

    Raises:
        ValueError: If a number is not positive.
    """

    @checked
    def __init__(self, n: Cases, *, batch_size: Cases, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.n = n

    def __len__(self) -> int:
        return math.ceil(self.n / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.n, generator=self.generator()).tolist()
        if self.n > 1 and self.batch_size > 1 and self.n % self.batch_size == 1:
            order.append(order[0])
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]
