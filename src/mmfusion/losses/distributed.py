"""The batch of all processes, as one.

Contrastive losses depend on the batch: on two GPUs with half of it each, prototypes are poorer and negatives fewer.
Here every process computes the loss of the whole batch. The gradient of a row is summed over the processes, each of
which has computed it in full, and averaging the parameters' gradients, as the training loop and DistributedDataParallel
do, divides by their number: what comes out is the gradient of one process with the whole batch.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from mmfusion.tokens import LossInputs
from mmfusion.utils.process_group import gather_together, n_processes, row_counts


def global_batch(inputs: LossInputs) -> LossInputs:
    """What a model returned on all processes, as if one had had the whole batch.

    Presence is gathered for the modalities that have embeddings; ``aux`` when it is looked at, the tensors that have
    one row per case.

    Args:
        inputs: Of this process; the same names on all of them.

    Returns:
        The inputs themselves if there is one process, or they are gathered already.
    """
    if n_processes() == 1 or isinstance(inputs.aux, _GatheredAux):
        return inputs
    named = {("embeddings", name): x for name, x in inputs.embeddings.items()}
    like = next(iter((*inputs.embeddings.values(), *inputs.outputs.values(), *inputs.targets.values())))
    counts = row_counts(like)
    all_cases = torch.ones(len(like), dtype=torch.bool, device=like.device)
    named |= {("outputs", name): x for name, x in inputs.outputs.items()}
    named |= {("targets", name): x for name, x in inputs.targets.items()}
    # One process may lack a modality in some cases while the others do not even say which have it.
    named |= {("present", name): inputs.present.get(name, all_cases) for name in inputs.embeddings}
    gathered = gather_together(named, counts)
    parts: dict[str, dict[str, Tensor]] = {"outputs": {}, "embeddings": {}, "targets": {}, "present": {}}
    for (part, name), x in gathered.items():
        parts[part][name] = x
    return LossInputs(**parts, aux=_GatheredAux(inputs.aux, len(like), counts))


class _GatheredAux(Mapping[str, Tensor]):
    """Gathers an entry when a loss looks at it: most are for explanations, and large."""

    def __init__(self, aux: Mapping[str, Tensor], n_rows: int, counts: list[int]) -> None:
        self._aux = aux
        self._n_rows = n_rows
        self._counts = counts
        self._gathered: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        x = self._aux[name]
        if x.ndim == 0 or len(x) != self._n_rows:
            return x
        if name not in self._gathered:
            self._gathered |= {key: y for (_, key), y in gather_together({("aux", name): x}, self._counts).items()}
        return self._gathered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._aux)

    def __len__(self) -> int:
        return len(self._aux)
