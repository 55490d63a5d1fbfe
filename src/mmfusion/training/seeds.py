"""One seed for everything random, drawn anew for each epoch and step.

A run that is resumed at an epoch's start sees the same random numbers as one that never stopped, so no random state
is ever saved.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from mmfusion.training.arithmetic import arithmetic


def derive(*parts: int) -> int:
    """A 63-bit seed from several numbers; neighbouring ones give unrelated seeds."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_all(seed: int) -> None:
    """Seed torch on the CPU and every CUDA device; nothing here draws from the generators of Python or numpy."""
    torch.manual_seed(seed)


@contextmanager
def deterministic(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """The same command twice gives the same numbers: deterministic kernels where CUDA has a choice.

    Operations without a deterministic kernel warn instead of failing. The former setting comes back afterwards, and
    so does the state of torch's generator on the CPU.

    Args:
        device: Where is computed.
        tf32: Whether float32 convolutions and matrix products on a GPU are computed in TF32; float32 otherwise.
    """
    state = torch.get_rng_state()
    algorithms = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # its setting is a property that type checkers do not see
    fill = memory.fill_uninitialized_memory
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    if device.type == "cuda":
        # cuBLAS reads it when the first handle is made; a user's own value is kept.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Deterministic mode fills every new tensor with NaN to unmask reads of unset memory; that costs time.
        memory.fill_uninitialized_memory = False
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        with arithmetic(device, tf32=tf32):
            yield
    finally:
        memory.fill_uninitialized_memory = fill
        torch.use_deterministic_algorithms(algorithms, warn_only=warn_only)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        torch.set_rng_state(state)
