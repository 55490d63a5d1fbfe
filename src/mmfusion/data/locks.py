"""Locks on files: held by a process, given back by the system when it ends, however it ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

AVAILABLE = fcntl is not None


class Hold:
    """A share of a file's lock: as long as anybody has one, :func:`alone` does not get the file.

    Processes that are forked have it too; those that it is sent to take a share of their own.

    Args:
        path: The lock's file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self.take()

    def take(self) -> None:
        """Wait for the share, where it is not ours yet."""
        if self._descriptor < 0:
            self._descriptor = _open(self._path)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Give the share back, where it is ours."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.release()

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self._path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self._path, self._descriptor = state["path"], -1
        self.take()


@contextmanager
def alone(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Have a file's lock to oneself.

    Args:
        path: The lock's file; made if it is not there.
        wait: For whoever has it or a share of it; else give up.

    Yields:
        Whether it is ours.
    """
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = True
        except BlockingIOError:
            ours = False
        yield ours
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        # A folder that may only be read has locks that may be shared.
        return os.open(path, os.O_RDONLY)
