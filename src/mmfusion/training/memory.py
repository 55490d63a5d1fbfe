"""Lack of memory as one error that says what to change."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from mmfusion.data.free_memory import in_words
from mmfusion.training.settings import Train

# What torch raises as a plain RuntimeError: the CPU's allocator, libraries of the GPU, and readers' shared memory.
_SIGNS = re.compile(
    r"out of memory|can't allocate memory|not enough memory|alloc_cpu|(CUBLAS|CUDNN|CUSOLVER|NCCL)\w*ALLOC_FAILED|"
    r"(insufficient|out of) shared memory|unable to (mmap|open shared memory)|Cannot allocate memory",
    re.IGNORECASE,
)
_SIZE = re.compile(r"allocate ([\d.]+ ?[KMGTPE]iB|\d+ bytes)", re.IGNORECASE)
_KILLED = re.compile(r"DataLoader worker.*killed by signal: Killed", re.DOTALL)


class OutOfMemory(ValueError):
    """There was too little memory for the settings; the text says which of them need less."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, of Python, numpy or torch, says that memory was short."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError | OSError) and bool(_SIGNS.search(text) or _KILLED.search(text))


def size_wanted(error: BaseException) -> str:
    """Requested size, from the error's text; empty where it has none."""
    match = _SIZE.search(str(error))
    if match is None:
        return ""
    words = match.group(1)
    return in_words(int(words.removesuffix(" bytes"))) if words.endswith(" bytes") else words


@contextmanager
def guard(doing: str, device: torch.device | str, advice: str) -> Iterator[None]:
    """Turn a lack of memory inside into one error.

    Args:
        doing: What is done inside, as it follows "out of memory": ``training``.
        device: Where it is done.
        advice: What takes less, as of :func:`advice`.

    Raises:
        OutOfMemory: In place of whatever said that memory was short.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"{message(error, doing, device)}: it takes {advice}") from error


def message(error: BaseException, doing: str = "", device: torch.device | str = "") -> str:
    """A lack of memory in a line: where, while doing what, and how much was wanted, as far as it is known."""
    wanted = size_wanted(error)
    return (
        "out of memory"
        + (f" on {device}" if device else "")
        + (f" while {doing}" if doing else "")
        + (f" ({wanted} more were requested)" if wanted else "")
    )


def advice(train: Train, precision: str, size: Any = None) -> str:
    """Settings that reduce memory, with their values.

    Args:
        train: The settings of the training.
        precision: Of the run.
        size: Of the images, as the settings have it; None where they do not say.
    """
    parts = [
        f"a smaller train.batch_size (it is {train.batch_size}; train.eval_batch_size={train.eval_batch_size} outside "
        "training)",
        f"smaller images (data.size{'' if size is None else f'; it is {size}'})",
    ]
    if not train.checkpointing:
        parts.append("train.checkpointing=true")
    if precision in ("no", "tf32"):
        parts.append("run.precision=bf16")
    if train.workers:
        parts.append(f"fewer train.workers (they are {train.workers})")
    return f"{', '.join(parts[:-1])} or {parts[-1]}"
