"""Batches that separate the cases of a patient or lesion."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated

import numpy as np
import torch

from mmfusion.data.samplers.epochs import EpochBatches
from mmfusion.option_checks import checked
from mmfusion.options import Cases, Length


class GroupedBatches(EpochBatches):
    """Every case once per epoch, the cases of a group in different batches as far as possible.

    Two images of one lesion are not negatives of each other, as a contrastive loss assumes, and add little to the
    spread of a class. So a batch gets at most one case of a group if there are more full batches than the group has
    cases, else as few as possible.

    Groups are distributed round by round, the largest first, equal ones in random order; then batches and the cases in
    each are shuffled. A last batch of a single case gets a second one, as in
    :class:`~mmfusion.data.samplers.shuffled.ShuffledBatches`.

    Args:
        groups: The patient or lesion of each case.
        batch_size: Cases per batch.
        processes: Number of processes that take one batch each per step. A group's cases are then in different steps,
            since losses gather the cases of a step.
        seed: Determines the batches, together with the epoch.

    Raises:
        ValueError: If there are no cases, or a number is not positive.
    """

    @checked
    def __init__(
        self,
        groups: Annotated[Sequence[str], Length(1, 10**9)],
        *,
        batch_size: Cases,
        processes: Cases = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        names = [str(group) for group in groups]
        size = Counter(names)
        self.groups = names
        self._group_of = torch.from_numpy(np.unique(np.asarray(names, dtype=object), return_inverse=True)[1]).long()
        self._size = torch.tensor([size[name] for name in names])
        self._step = batch_size * processes

    def __len__(self) -> int:
        return math.ceil(len(self.groups) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        generator, n = self.generator(), len(self.groups)
        order = self._by_group(generator)
        n_steps = math.ceil(n / self._step)
        # The step of each case: one case per step and round, the last step until it is full.
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
            batches[-1].append(self._companion(batches[-1][0], batches[0]))
        yield from batches

    def _by_group(self, generator: torch.Generator) -> torch.Tensor:
        """The cases group by group, the largest groups first, shape ``(n,)``."""
        rank = torch.randperm(int(self._group_of.max()) + 1, generator=generator)[self._group_of]
        shuffled = torch.randperm(len(self._group_of), generator=generator)
        order = shuffled[torch.argsort(rank[shuffled], stable=True)]
        return order[torch.argsort(self._size[order], descending=True, stable=True)]

    def _companion(self, alone: int, candidates: Sequence[int]) -> int:
        """A case of another group if possible."""
        return next((case for case in candidates if self.groups[case] != self.groups[alone]), candidates[0])
