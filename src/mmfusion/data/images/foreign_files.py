"""Files that others wrote: regular ones alone, read without the warnings of the libraries that decode them."""

import gzip
import io
import logging
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_GZIP = b"\x1f\x8b"
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """A regular file, to be read.

    A named pipe would wait for ever and a device has no end: they are looked at and not opened.

    Raises:
        ValueError: If it is anything else.
        OSError: If it is not there, or may not be read.
    """
    require_regular(os.stat(path).st_mode)
    # Without O_NONBLOCK a pipe that took the file's place since would wait here.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        require_regular(os.fstat(file.fileno()).st_mode)
        yield file


def require_regular(mode: int) -> None:
    """Refuse what is no regular file.

    Args:
        mode: ``st_mode`` of a :func:`os.stat`.

    Raises:
        ValueError: Saying what it is.
    """
    if not stat.S_ISREG(mode):
        kind = next((what for test, what in _KINDS if test(mode)), "something else")
        raise ValueError(f"it is {kind}, not a file")


@contextmanager
def decompressed(path: Path) -> Iterator[BinaryIO]:
    """The content of a regular file, decompressed where it begins as gzip does, whatever its name.

    Raises:
        ValueError: As :func:`opened`.
        OSError: Likewise.
    """
    with opened(path) as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        if not is_gzip:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as content:
            yield content  # type: ignore[misc]  # reads as a file does


_QUIET = "(PIL|nibabel|pydicom|nrrd)($|\\.)"
_LOGGERS = ("nibabel.global", "pydicom")
_lock = threading.Lock()
_n_readers = 0
_filter: object = None


class _Nothing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return False


_NOTHING = _Nothing()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings and log lines of Pillow, nibabel, pydicom and pynrrd from the user while a file is decoded.

    What is wrong with a file is an error of ours that names it; their warnings name none. Several threads decode at
    once, for which ``warnings.catch_warnings`` is not made: the filter stays until the last one is through.
    """
    global _n_readers, _filter
    with _lock:
        if not _n_readers:
            warnings.filterwarnings("ignore", module=_QUIET)
            _filter = warnings.filters[0]
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(_NOTHING)
        _n_readers += 1
    try:
        yield
    finally:
        with _lock:
            _n_readers -= 1
            if not _n_readers:
                with suppress(ValueError):
                    warnings.filters.remove(_filter)  # type: ignore[attr-defined]  # a list, typed as a sequence
                for name in _LOGGERS:
                    logging.getLogger(name).removeFilter(_NOTHING)
