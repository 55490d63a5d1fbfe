"""Cases of one patient or lesion in different batches."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from mmfusion.data.samplers.epochs import EpochBatches


class GroupedBatches(EpochBatches):
    """Every case once an epoch, the cases of a group as far apart as the batches allow.

    Two images of one lesion, or a patient's record twice, are no negatives of each other, as a contrastive loss takes
    them to be, nor do they say more than one of them about the classes' spread. So a batch gets at most one case of a
    group where there are more whole batches than the group has cases, and as few as can be where there are not.

    The groups are dealt out round by round, the largest first, those of one size in random order; then the batches and
    the cases in each are shuffled. A last batch of a single case gets a second one, as in
    :class:`~mmfusion.data.samplers.shuffled.ShuffledBatches`.

    Args:
        groups: The patient or lesion of each case.
        batch_size: Cases in a batch.
        processes: How many take a batch each at a step. What is kept apart is then the steps, whose cases the losses
            gather.
        seed: With the epoch, it determines the batches.

    Raises:
        ValueError: If there are no cases, or a number is not positive.
    """

    def __init__(self, groups: Sequence[str], *, batch_size: int, processes: int = 1, seed: int = 0) -> None:
        if not len(groups) or batch_size < 1 or processes < 1:
            raise ValueError(
                f"GroupedBatches expects at least one case a batch and one process, got {len(groups)} cases, "
                f"batch_size={batch_size}, processes={processes}"
            )
        super().__init__(batch_size, seed)
        names = [str(group) for group in groups]
        size = Counter(names)
        self.groups = names
        self._owner = torch.from_numpy(np.unique(np.asarray(names, dtype=object), return_inverse=True)[1]).long()
        self._size = torch.tensor([size[name] for name in names])
        self._step = batch_size * processes

    def __len__(self) -> int:
        return math.ceil(len(self.groups) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator, n = self.generator(), len(self.groups)
        order = self._dealt(generator)
        n_steps = math.ceil(n / self._step)
        # The steps in the order of their cases: round by round one case each, the last step until it is full.
        rounds = torch.arange(n_steps).repeat(self._step, 1)
        rounds[n - (n_steps - 1) * self._step :, -1] = -1
        step_of = rounds[rounds >= 0]
        whole = n_steps if n % self._step == 0 else n_steps - 1
        batches: list[list[int]] = []
        for step in (*torch.randperm(whole, generator=generator).tolist(), *range(whole, n_steps)):
            members = order[step_of == step]
            members = members[torch.randperm(len(members), generator=generator)]
            batches += [batch.tolist() for batch in torch.split(members, self.batch_size)]
        if len(batches) > 1 and self.batch_size > 1 and len(batches[-1]) == 1:
            batches[-1].append(self._company(batches[-1][0], batches[0]))
        yield from batches

    def _dealt(self, generator: torch.Generator) -> torch.Tensor:
        """The cases group by group, the largest groups first, shape ``(n,)``."""
        rank = torch.randperm(int(self._owner.max()) + 1, generator=generator)[self._owner]
        shuffled = torch.randperm(len(self._owner), generator=generator)
        order = shuffled[torch.argsort(rank[shuffled], stable=True)]
        return order[torch.argsort(self._size[order], descending=True, stable=True)]

    def _company(self, alone: int, candidates: Sequence[int]) -> int:
        """Of another group where there is one."""
        return next((case for case in candidates if self.groups[case] != self.groups[alone]), candidates[0])
