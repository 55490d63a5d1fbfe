"""Several processes that train one model together, as ``torchrun`` or ``accelerate launch`` start them.

Each takes its share of every batch and of every held-out part; gradients are averaged, so that all have the same
weights. The first one, rank 0, is the main process: it alone writes and speaks.

NOTE[DIFF] Gradients are averaged here after the backward pass and not by DistributedDataParallel during it. That
demands a gradient of every parameter in every process, or searches the model's outputs for those without: but where no
case of a share has a modality its encoder has none, a pretraining leaves the head alone, and the objective's own
parameters are behind the outputs. Its reductions would also cross those of the losses' backward pass, which gather the
batch, in an order that differs between processes.
"""

import atexit
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmfusion.losses.distributed import n_processes
from mmfusion.training.seeds import derive

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


def own_gpu() -> torch.device:
    """The GPU of this process, made the current one.

    Raises:
        ValueError: If there are more processes than GPUs.
    """
    n, mine = torch.cuda.device_count(), local_index()
    if mine >= n:
        raise ValueError(
            f"each process on this machine needs a GPU of its own, torch sees {n}: start at most {n}, or use --device "
            "cpu"
        )
    torch.cuda.set_device(mine)
    return torch.device("cuda", mine)


# Beginning and end


@contextmanager
def together() -> Iterator[None]:
    """Join the other processes, where a launcher started any, and end with them.

    What goes wrong inside is raised where it is to be told, in one process: in the main one if it went wrong there,
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
    store, rank, size = next(dist.rendezvous("env://", timeout=_PATIENCE))
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
        dist.all_reduce(torch.zeros((), device=_meeting_place()))


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
    made = [make() if is_main() else None]
    dist.broadcast_object_list(made)
    return made[0]  # type: ignore[return-value]  # the main process's


# Shares


def share(n: int) -> range:
    """This process's of ``n`` cases in order: of several, shares differ by one at most."""
    rank, size = index(), n_processes()
    return range(n * rank // size, n * (rank + 1) // size)


def own(seed: int) -> int:
    """A seed for what a process draws for its own cases; that of the main one is the seed itself."""
    return derive(seed, index()) if index() else seed


def mean(values: Sequence[float]) -> list[float]:
    """Of numbers that each process has one of."""
    if n_processes() == 1:
        return list(values)
    sums = torch.tensor(values, dtype=torch.float64, device=_meeting_place())
    dist.all_reduce(sums)
    return (sums / n_processes()).tolist()


def total(value: int) -> int:
    """The sum over the processes."""
    return round(mean([float(value)])[0] * n_processes())


# One model


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients; nothing to do in a single one.

    A gradient that some processes do not have is zero there; one that no process has stays None.

    Args:
        parameters: The same, in the same order, in every process.
    """
    if n_processes() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    there = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
    there = there.to(_meeting_place())
    dist.all_reduce(there)
    found = [parameter for parameter, n in zip(trained, there.tolist(), strict=True) if n]
    for group in _by_dtype(found):
        for parameter in group:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in group if parameter.grad is not None]
        flat = _flat(gradients)
        dist.all_reduce(flat)
        _unflatten(flat / n_processes(), gradients)


@torch.no_grad()
def align(model: nn.Module) -> None:
    """Give every process the main one's parameters and buffers, batch statistics averaged over the processes before.

    Each process normalises by the statistics of its own share, so their running means are means of shares; their mean
    over the processes is that of all cases.

    Args:
        model: In training mode, where it has batch statistics that move.
    """
    if n_processes() == 1:
        return
    moving = [
        statistic
        for part in model.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training and part.running_mean is not None
        for statistic in (part.running_mean, part.running_var)
        if statistic is not None
    ]
    for group in _by_dtype(moving):
        flat = _flat(group)
        dist.all_reduce(flat)
        _unflatten(flat / n_processes(), group)
    for group in _by_dtype([*model.parameters(), *model.buffers()]):
        flat = _flat(group)
        # Not every backend sends booleans.
        sent = flat.to(torch.uint8) if flat.dtype == torch.bool else flat
        dist.broadcast(sent, 0)
        _unflatten(sent, group)


Kind = TypeVar("Kind", bound=Tensor)


def _by_dtype(tensors: Iterable[Kind]) -> list[list[Kind]]:
    """One collective for all tensors of a dtype: each has its price."""
    groups: dict[torch.dtype, list[Kind]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, into: Sequence[Tensor]) -> None:
    for tensor, piece in zip(into, flat.split([tensor.numel() for tensor in into]), strict=True):
        tensor.detach().copy_(piece.view(tensor.shape))


def _meeting_place() -> torch.device:
    """Where small things are exchanged: on the CPU if the processes have a way for it."""
    if "cpu" in dist.get_backend_config():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
