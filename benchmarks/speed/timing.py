"""How everything is timed: in turn, in one run, and where memory counts in a process of its own."""

import multiprocessing
import resource  # not on Windows
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Found = TypeVar("Found")


def medians(
    functions: dict[str, Callable[[], None]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each function, one of each in turn, so that a change of the machine's speed meets all alike."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    return seconds


def verdict(value: float, *, at_least: float | None = None, at_most: float | None = None) -> str:
    """The target of a figure, and whether it was met."""
    met = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    target = f"at least {at_least:g}" if at_least is not None else f"at most {at_most:g}"
    return f"target {target}: {'met' if met else 'missed'}"


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def peak_mib(device: str) -> float:
    """The most memory that this process has held so far, in MiB."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    # In KiB on Linux, in bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def in_a_process(function: Callable[..., Found], *arguments: Any) -> Found:
    """Call a function where nothing else has used memory. To be done first of all: on Linux a process starts with its
    parent's peak as its own.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
