"""Runs a function in several processes that train together over gloo, on this machine."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _worker(rank: int, n: int, folder: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=n)
    try:
        torch.save(function(rank, *arguments), os.path.join(folder, f"result{rank}.pt"))
        dist.barrier()
    finally:
        dist.destroy_process_group()


def together(function: Callable[..., Any], folder: Path, *arguments: Any, n: int = 2) -> list[Any]:
    """``function(rank, *arguments)`` of each rank. The function must stand in a module that can be imported by name."""
    mp.spawn(_worker, args=(n, str(folder), function, arguments), nprocs=n)
    return [torch.load(folder / f"result{rank}.pt", weights_only=False) for rank in range(n)]
