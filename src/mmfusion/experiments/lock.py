"""The lock of a run's folder: one process at a time works on it, whoever began it.

The system gives the lock back however a process ends. It is next to the folder, which holds what a run writes and
nothing else, and goes with whoever had it last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmfusion.training import processes
from mmfusion.utils import locks

_held: set[Path] = set()
"""Folders that this process works on."""


@contextmanager
def attempt(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock a folder, if possible; of processes that train together the main one holds it for all.

    A process that has it already gets it again.

    Args:
        folder: Of a run; it need not exist.
        wait: For another process that has it.

    Yields:
        Whether it is ours.

    Raises:
        OSError: If there is no place for a lock.
    """
    place = folder.resolve()
    if not processes.is_main():
        yield processes.from_main(lambda: False)
        return
    if place in _held or not locks.AVAILABLE:
        yield processes.from_main(lambda: True)
        return
    with locks.alone(_lock(place), wait=wait, remove=True) as ours:
        if ours:
            _held.add(place)
        try:
            yield processes.from_main(lambda: ours)
        finally:
            if ours:
                _held.discard(place)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """As :func:`attempt`, for whoever needs the folder now.

    Raises:
        ValueError: If another process has it.
        OSError: If there is no place for a lock.
    """
    with attempt(folder) as ours:
        if not ours:
            raise _taken(folder)
        yield


def check(folder: Path) -> None:
    """Raise an error if another process holds a folder; no file is created.

    Raises:
        ValueError: If another process has it.
    """
    place = folder.resolve()
    lock = _lock(place)
    if place in _held or not locks.AVAILABLE or not lock.exists():
        return
    with locks.alone(lock) as ours:
        if not ours:
            raise _taken(folder)


def _taken(folder: Path) -> ValueError:
    return ValueError(
        f"another process works on {folder}: wait for it, stop it first, or choose another folder (run.out)"
    )


def _lock(place: Path) -> Path:
    lock = place.parent / ".locks" / place.name
    if place.is_dir() and not lock.exists() and not locks.may_write(lock.parent):
        # Nothing can be made next to it, as of a folder that is all that a container may write: the folder itself.
        return place
    return lock
