"""Every case once an epoch, in random order."""

import math
from collections.abc import Iterator

import torch

from mmfusion.data.samplers.epochs import EpochBatches


class ShuffledBatches(EpochBatches):
    """Every case once an epoch, in random order.

    A last batch of a single case has no batch statistics, so that training on it fails: it gets a second case, one that
    the epoch has had already. (A case that joined the batch before, or moved over from there, would make a batch of
    another size in the middle, which Accelerate does not deal out.)

    Args:
        n: Number of cases.
        batch_size: Cases in a batch.
        seed: With the epoch, it determines the order.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(self, n: int, *, batch_size: int, seed: int = 0) -> None:
        if n < 1 or batch_size < 1:
            raise ValueError(f"ShuffledBatches expects at least one case a batch, got n={n}, batch_size={batch_size}")
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
