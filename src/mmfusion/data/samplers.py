"""Which cases stand together in a batch, fully determined by a seed and the epoch's number.

Both classes are batch samplers in torch's sense. All batches but the last have ``batch_size`` cases, which is what
Accelerate relies on when it deals them out to several processes.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler


class _EpochBatches(Sampler[list[int]]):
    """What the samplers share: the seed, the epoch, and what Accelerate looks at."""

    drop_last = False

    def __init__(self, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the same number gives the same batches, whatever was drawn before."""
        self.epoch = epoch

    def _generator(self) -> torch.Generator:
        # Two small numbers to one seed without a collision: Cantor's pairing.
        pair = (self.seed + self.epoch) * (self.seed + self.epoch + 1) // 2 + self.epoch
        return torch.Generator().manual_seed(pair)


class ShuffledBatches(_EpochBatches):
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
        order = torch.randperm(self.n, generator=self._generator()).tolist()
        if self.n > 1 and self.batch_size > 1 and self.n % self.batch_size == 1:
            order.append(order[0])
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]


class ClassBalancedBatches(_EpochBatches):
    """The same number of cases of each class in every batch: ``floor(batch_size / k)``.

    An epoch is ``ceil(n / batch_size)`` batches, as many as without balancing. Each class is drawn in shuffled passes
    over its own cases: one that is smaller than its share comes round again, in a new order, once all of it was drawn.

    The attribute ``batch_size`` is what the batches really have, ``k * floor(batch_size / k)``.

    Args:
        labels: Class of each case, shape ``(n,)``.
        batch_size: Cases in a batch at most.
        seed: With the epoch, it determines the batches.

    Raises:
        ValueError: If there are no labels, or the batch has no room for a case of each class.
    """

    def __init__(self, labels: Tensor | Sequence[int], *, batch_size: int, seed: int = 0) -> None:
        codes = torch.as_tensor(labels, dtype=torch.int64)
        if codes.ndim != 1 or not len(codes):
            raise ValueError(f"ClassBalancedBatches expects one label a case, got shape {tuple(codes.shape)}")
        self.members = [torch.nonzero(codes == code).flatten() for code in sorted(set(codes.tolist()))]
        if batch_size < len(self.members):
            raise ValueError(
                f"ClassBalancedBatches expects a batch with room for a case of each of the {len(self.members)} "
                f"classes, got batch_size={batch_size}"
            )
        self.share = batch_size // len(self.members)
        super().__init__(self.share * len(self.members), seed)
        self._length = math.ceil(len(codes) / batch_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        generator = self._generator()
        drawn = [self._passes(members, generator) for members in self.members]
        for start in range(0, self._length * self.share, self.share):
            batch = torch.cat([order[start : start + self.share] for order in drawn])
            # Shuffled, so that a process which takes a piece of the batch does not get one class alone.
            yield batch[torch.randperm(len(batch), generator=generator)].tolist()

    def _passes(self, members: Tensor, generator: torch.Generator) -> Tensor:
        """As many cases of one class as an epoch needs, pass after pass, shape ``(at least length * share,)``."""
        n_passes = math.ceil(self._length * self.share / len(members))
        return torch.cat([members[torch.randperm(len(members), generator=generator)] for _ in range(n_passes)])
