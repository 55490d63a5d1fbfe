"""A process's share of every batch."""

from collections.abc import Iterator
from itertools import cycle, islice

from torch.utils.data import Sampler

from mmfusion.data.samplers.choose import Batches

_LEAST = 2
"""Cases in a share: one alone has no batch statistics."""


class SharedBatches(Sampler[list[int]]):
    """The part of every batch that one of several processes takes; together they have the batch.

    The shares of a batch differ by one case at most. A last batch with less than two cases a process gets more of those
    that the epoch began with, so that every share has two.

    Args:
        batches: The same in every process.
        index: This process.
        processes: How many there are.

    Raises:
        ValueError: If a batch has less than two cases a process.
    """

    def __init__(self, batches: Batches, *, index: int, processes: int) -> None:
        if not 0 <= index < processes:
            raise ValueError(f"SharedBatches expects an index below processes={processes}, got {index}")
        if processes > 1 and batches.batch_size < _LEAST * processes:
            raise ValueError(
                f"a batch is shared by all {processes} processes, each of which needs at least {_LEAST} cases: give a "
                f"batch_size of at least {_LEAST * processes}, got {batches.batch_size}, or start fewer processes"
            )
        self.batches = batches
        self.index = index
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch."""
        self.batches.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        first: list[int] = []
        for batch in self.batches:
            first = first or batch
            if self.processes > 1 and len(batch) < _LEAST * self.processes:
                batch = [*batch, *islice(cycle(first), _LEAST * self.processes - len(batch))]
            begin, end = (len(batch) * i // self.processes for i in (self.index, self.index + 1))
            yield batch[begin:end]
