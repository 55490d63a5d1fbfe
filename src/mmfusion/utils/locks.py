"""Locks on files: held by a process, given back by the system when it ends, however it ends."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]  # a module elsewhere

AVAILABLE = fcntl is not None

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)
"""What file systems say that cannot lock a file, or one that is opened for reading."""


class Hold:
    """A share of a file's lock: as long as anybody has one, :func:`alone` does not get the file.

    Processes that are forked have it too; those that it is sent to take a share of their own.

    Args:
        path: The lock's file; created if it does not exist.
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
def alone(path: Path, *, wait: bool = False, remove: bool = False) -> Iterator[bool]:
    """Have a file's lock to oneself.

    Args:
        path: The lock's file; created if it does not exist. An existing folder can be locked too.
        wait: For whoever has it or a share of it; else give up.
        remove: The file, and its folder if nothing else is in it, go with the lock; they are made where they are not
            there. All who use the lock must say so.

    Yields:
        Whether it is ours; True on a file system that has no locks.
    """
    descriptor, ours = _take(path, wait=wait, remove=remove)
    _taken.add(descriptor)
    try:
        yield ours
    finally:
        if ours and remove and path.is_file():
            # While it is still ours: whoever waits for it sees that it is gone, and makes another.
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()
        if descriptor in _taken:
            _taken.discard(descriptor)
            os.close(descriptor)


_taken: set[int] = set()
"""Of :func:`alone`, in this process."""


def _let_go() -> None:
    """In a forked process: what its parent has must end with the parent, whoever outlives it."""
    while _taken:
        os.close(_taken.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _take(path: Path, *, wait: bool, remove: bool) -> tuple[int, bool]:
    while True:
        if remove and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = _open(path)
        except FileNotFoundError:
            if remove and path.parent.parent.is_dir():
                continue  # its last owner has just removed the folder
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return descriptor, False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor, True
            os.close(descriptor)
            raise
        except BaseException:
            os.close(descriptor)
            raise
        if not remove or _is_still(path, descriptor):
            return descriptor, True
        os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether a path still names the file that was opened."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def may_write(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself where it is not there yet."""
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    return os.access(nearest, os.W_OK | os.X_OK)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        # A folder that may only be read has locks that may be shared.
        return os.open(path, os.O_RDONLY)
