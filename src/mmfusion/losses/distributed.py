"""The batch of all processes, as one.

Contrastive losses depend on the batch: on two GPUs with half of it each, prototypes are poorer and negatives fewer.
Here every process computes the loss of the whole batch. The gradient of a row is summed over the processes, each of
which has computed it in full, and averaging the parameters' gradients, as the training loop and DistributedDataParallel
do, divides by their number: what comes out is the gradient of one process with the whole batch.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mmfusion.tokens import LossInputs


def n_processes() -> int:
    """How many processes train together; 1 without ``torch.distributed``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all processes in the order of their ranks, with gradient.

    Every process of the default group must call this, with as many rows as it has.

    Args:
        x: Shape ``(b, ...)``; b may differ between processes, the rest may not.

    Returns:
        Shape ``(sum of b, ...)``; ``x`` itself if there is one process.
    """
    if n_processes() == 1:
        return x
    return _gather(x, _row_counts(x))


def own_rows(x: Tensor) -> Tensor:
    """Where this process's rows stand among those of all, as :func:`gather_rows` orders them.

    Args:
        x: Shape ``(b, ...)``.

    Returns:
        Shape ``(b,)``, int64.
    """
    before = sum(_row_counts(x)[: dist.get_rank()]) if n_processes() > 1 else 0
    return before + torch.arange(len(x), device=x.device)


def _gather(x: Tensor, counts: list[int]) -> Tensor:
    if not x.is_floating_point():
        return _all_rows(x, counts)
    gathered: Tensor = _GatherRows.apply(x, counts)
    return gathered


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: list[int]) -> Tensor:
        ctx.counts = counts
        return _all_rows(x, counts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return torch.split(grad, ctx.counts)[dist.get_rank()], None


def _all_rows(x: Tensor, counts: list[int]) -> Tensor:
    padded = x.new_zeros((max(counts), *x.shape[1:]))
    padded[: len(x)] = x.detach()
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _row_counts(like: Tensor) -> list[int]:
    """Rows of each process: over the CPU where the group has a backend for it, which keeps a GPU from waiting."""
    device = torch.device("cpu") if "cpu" in dist.get_backend_config() else like.device
    mine = torch.tensor([len(like)], device=device)
    counts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, mine)
    return [int(count) for count in counts]


def global_batch(inputs: LossInputs) -> LossInputs:
    """What a model returned on all processes, as if one had had the whole batch.

    Presence is gathered for the modalities that have embeddings; ``aux`` when it is looked at, the tensors that have
    one row a case.

    Args:
        inputs: Of this process; the same names on all of them.

    Returns:
        The inputs themselves if there is one process.
    """
    if n_processes() == 1:
        return inputs
    named = {("embeddings", name): x for name, x in inputs.embeddings.items()}
    like = next(iter((*inputs.embeddings.values(), *inputs.outputs.values(), *inputs.targets.values())))
    counts = _row_counts(like)
    everywhere = torch.ones(len(like), dtype=torch.bool, device=like.device)
    named |= {("outputs", name): x for name, x in inputs.outputs.items()}
    named |= {("targets", name): x for name, x in inputs.targets.items()}
    # One process may lack a modality in some cases while the others do not even say which have it.
    named |= {("present", name): inputs.present.get(name, everywhere) for name in inputs.embeddings}
    gathered = _gather_together(named, counts)
    parts: dict[str, dict[str, Tensor]] = {"outputs": {}, "embeddings": {}, "targets": {}, "present": {}}
    for (part, name), x in gathered.items():
        parts[part][name] = x
    return LossInputs(**parts, aux=_GatheredAux(inputs.aux, len(like), counts))


def _gather_together(tensors: Mapping[tuple[str, str], Tensor], counts: list[int]) -> dict[tuple[str, str], Tensor]:
    """One collective for all tensors of a dtype: each has its price."""
    gathered: dict[tuple[str, str], Tensor] = {}
    for dtype in dict.fromkeys(x.dtype for x in tensors.values()):
        group = {key: x for key, x in tensors.items() if x.dtype == dtype}
        widths = [math.prod(x.shape[1:]) for x in group.values()]
        flat = torch.cat([x.reshape(len(x), width) for x, width in zip(group.values(), widths, strict=True)], 1)
        # Not every backend sends booleans.
        rows = _gather(flat.to(torch.uint8), counts).to(dtype) if dtype == torch.bool else _gather(flat, counts)
        for (key, x), column in zip(group.items(), torch.split(rows, widths, 1), strict=True):
            gathered[key] = column.reshape(len(rows), *x.shape[1:])
    return gathered


class _GatheredAux(Mapping[str, Tensor]):
    """Gathers an entry when a term looks at it: most are there for explanations, and large."""

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
            self._gathered |= {key: y for (_, key), y in _gather_together({("aux", name): x}, self._counts).items()}
        return self._gathered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._aux)

    def __len__(self) -> int:
        return len(self._aux)
