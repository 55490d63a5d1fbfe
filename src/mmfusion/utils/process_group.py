"""Rows of all processes that train together, gathered with their gradient.

Without ``torch.distributed`` there is one process, whose rows are all rows.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


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
    return _gather(x, row_counts(x))


def own_rows(x: Tensor) -> Tensor:
    """Where this process's rows stand among those of all, as :func:`gather_rows` orders them.

    Args:
        x: Shape ``(b, ...)``.

    Returns:
        Shape ``(b,)``, int64.
    """
    before = sum(row_counts(x)[: dist.get_rank()]) if n_processes() > 1 else 0
    return before + torch.arange(len(x), device=x.device)


def _gather(x: Tensor, counts: list[int]) -> Tensor:
    if x.dtype == torch.bool:  # which not every backend sends
        return _all_rows(x.to(torch.uint8), counts).bool()
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


def row_counts(like: Tensor) -> list[int]:
    """How many rows each process has, in the order of the ranks.

    They are exchanged over the CPU where the group has a backend for it, which keeps a GPU from waiting.

    Args:
        like: Shape ``(b, ...)``: this process's rows.
    """
    device = torch.device("cpu") if "cpu" in dist.get_backend_config() else like.device
    mine = torch.tensor([len(like)], device=device)
    counts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, mine)
    return [int(count) for count in counts]


def gather_together(tensors: Mapping[tuple[str, str], Tensor], counts: list[int]) -> dict[tuple[str, str], Tensor]:
    """The rows of all processes for several tensors, with gradient; one collective for all tensors of a dtype.

    Args:
        tensors: Each of shape ``(b, ...)``; the same keys in every process.
        counts: As :func:`row_counts` gives them.

    Returns:
        By key, shape ``(sum of b, ...)``.
    """
    gathered: dict[tuple[str, str], Tensor] = {}
    for dtype in dict.fromkeys(x.dtype for x in tensors.values()):
        group = {key: x for key, x in tensors.items() if x.dtype == dtype}
        widths = [math.prod(x.shape[1:]) for x in group.values()]
        flat = torch.cat([x.reshape(len(x), width) for x, width in zip(group.values(), widths, strict=True)], 1)
        rows = _gather(flat, counts)
        for (key, x), column in zip(group.items(), torch.split(rows, widths, 1), strict=True):
            gathered[key] = column.reshape(len(rows), *x.shape[1:])
    return gathered
