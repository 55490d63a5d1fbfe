"""One process's share of every batch."""

from collections.abc import Iterator
from itertools import cycle, islice

from torch.utils.data import Sampler

from mmfusion.data.samplers.choose import Batches

_LEAST = 2
"""Fewest cases of a share: a single case has no batch statistics."""


class SharedBatches(Sampler[list[int]]):
    """The share of one of several processes of every batch; together the shares are the batch.

    Sizes of shares differ by at most one case. A last batch with fewer than two cases per process is filled with cases
    of the epoch's first batch, so that every share has two.

    Args:
        batches: The batches, the same in every process.
        index: Index of this process.
        processes: Number of processes.

    Raises:
        ValueError: If a batch has fewer than two cases per process.
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
        """Set the epoch."""
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
