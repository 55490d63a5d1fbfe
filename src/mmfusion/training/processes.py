"""Several processes that train one model together, as ``torchrun`` or ``accelerate launch`` start them.

Each takes its share of every batch and of every held-out part; gradients are averaged, so that all have the same
weights. The first one, rank 0, is the main process: it alone writes and speaks.
"""

import atexit
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from mmfusion.training.seeds import derive
from mmfusion.utils.process_group import n_processes

Result = TypeVar("Result")

_PATIENCE = timedelta(days=1)
"""For whoever waits while the main process decodes a dataset; a process that is gone is noticed at once."""

_WORD = 5.0
"""Seconds in which a process says why it ended, if it can."""


def launched() -> bool:
    """Whether a launcher started several processes."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def index() -> int:
    """This process's number, 0 of a single one."""
    return dist.get_rank() if n_processes() > 1 else 0


def local_index() -> int:
    """Its number on this machine."""
    return int(os.environ.get("LOCAL_RANK", index())) if n_processes() > 1 else 0


def is_main() -> bool:
    """Whether this process writes and speaks."""
    return index() == 0


def gpu_of_process() -> torch.device:
    """The GPU of this process, made the current one.

    Raises:
        ValueError: If there are more processes than GPUs.
    """
    n, mine = torch.cuda.device_count(), local_index()
    if mine >= n:
        raise ValueError(
            f"each process on this machine needs a GPU of its own, torch sees {n}: start at most {n}, or use "
            "run.device=cpu"
        )
    torch.cuda.set_device(mine)
    return torch.device("cuda", mine)


# Beginning and end


@contextmanager
def together() -> Iterator[None]:
    """Join the other processes, where a launcher started any, and end with them.

    An error inside is raised in one process only: in the main one if it went wrong there,
    else in the first where it did. The others end without a word, by SystemExit. Calls may be nested.
    """
    _join()
    if n_processes() == 1:
        yield
        return
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        _end(error)
        raise


def _join() -> None:
    if dist.is_initialized() or not launched():
        return
    store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
    cuda = torch.cuda.is_available()
    # What does not belong on a GPU goes over the CPU, which keeps the GPU from waiting.
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=size, timeout=_PATIENCE
    )
    _Ends.store = store
    atexit.register(_leave)
    if rank:
        # The main process says the same.
        warnings.simplefilter("ignore")


class _Ends:
    """Why processes end, as they tell each other; the last error that was looked at here."""

    store: Any = None
    seen: BaseException | None = None


def _end(error: BaseException) -> None:
    """Tell the others; leave where another process tells the user.

    Raises:
        SystemExit: If this process is to end without a word.
        KeyboardInterrupt: In the main process, if that is what ended another one.
    """
    if error is _Ends.seen or _Ends.store is None:
        return
    _Ends.seen = error
    rank, size = index(), n_processes()
    if isinstance(error, KeyboardInterrupt):
        _tell("interrupted")
        if rank:
            raise SystemExit(130) from error
        return
    # What a collective raises when another process is gone.
    follows = isinstance(error, RuntimeError)
    if not follows:
        _tell("failed")
    why = _first_word([other for other in range(size if follows else rank) if other != rank])
    if why is None:
        _tell("failed")
        return
    if why == "interrupted" and rank == 0:
        raise KeyboardInterrupt from error
    raise SystemExit(130 if why == "interrupted" else 2) from error


def _tell(word: str) -> None:
    with suppress(RuntimeError):  # whoever keeps the store may be gone
        _Ends.store.set(f"mmfusion/end/{index()}", word)


def _first_word(others: Sequence[int]) -> str | None:
    """What one of these processes said of its end, waiting a while for it."""
    deadline = time.monotonic() + _WORD
    while others:
        try:
            for other in others:
                if _Ends.store.check([f"mmfusion/end/{other}"]):
                    word: str = _Ends.store.get(f"mmfusion/end/{other}").decode()
                    return word
        except RuntimeError:
            return "failed"
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
    return None


def _leave() -> None:
    # After an error the others may be gone, and parting would wait for them.
    if _Ends.seen is None and dist.is_initialized():
        dist.destroy_process_group()


# Taking turns


def wait() -> None:
    """Until all processes are here."""
    if n_processes() > 1:
        dist.all_reduce(torch.zeros((), device=meeting_place()))


@contextmanager
def main_first() -> Iterator[None]:
    """What is kept on disk for all: the first process of each machine makes it, then the others find it there."""
    if local_index():
        wait()
    yield
    if not local_index():
        wait()


def from_main(make: Callable[[], Result]) -> Result:
    """What the main process makes, in all of them; the others wait.

    Args:
        make: Called by the main process alone; what it returns is pickled.
    """
    if n_processes() == 1:
        return make()
    value = [make() if is_main() else None]
    dist.broadcast_object_list(value)
    return value[0]  # type: ignore[return-value]  # the main process's


# Shares


def share(n: int) -> range:
    """This process's of ``n`` cases in order: of several, shares differ by one at most."""
    rank, size = index(), n_processes()
    return range(n * rank // size, n * (rank + 1) // size)


def process_seed(seed: int) -> int:
    """A seed for what a process draws for its own cases; that of the main one is the seed itself."""
    return derive(seed, index()) if index() else seed


def mean(values: Sequence[float]) -> list[float]:
    """Of numbers that each process has one of."""
    if n_processes() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=meeting_place())
    dist.all_reduce(sums)
    return (sums / n_processes()).tolist()


def total(value: int) -> int:
    """The sum over the processes."""
    return round(mean([float(value)])[0] * n_processes())


def meeting_place() -> torch.device:
    """Where small things are exchanged: on the CPU if the processes have a way for it."""
    if "cpu" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
