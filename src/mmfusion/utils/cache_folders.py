"""Cache folders for what is computed once for many runs, readable by the user alone."""

import contextlib
import os
import stat
from pathlib import Path

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
"""Modes of what a cache makes: decoded images and sentences are patients' data, whatever the umask is."""


def cache_folder(kind: str, folder: str | Path | None = None) -> Path:
    """The folder of one kind of things; it need not be there.

    Args:
        kind: ``"maps"``, ``"images"``.
        folder: Above it; None: ``$XDG_CACHE_HOME/mmfusion``, or ``~/.cache/mmfusion``.
    """
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmfusion"
    return Path(folder) / kind


def private_folder(path: Path) -> None:
    """Make a folder, with its parents, that only the user can enter; what is there already stays as it is.

    Raises:
        OSError: If it cannot be made.
    """
    if path.is_dir():
        return
    private_folder(path.parent)
    with contextlib.suppress(FileExistsError):  # made by another process in between
        path.mkdir(mode=PRIVATE_FOLDER)


def private_file(path: Path) -> None:
    """Make an empty file that only the user can read, or take it away from all others.

    In a folder that may only be read, and for somebody else's file, nothing changes.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_RDONLY, PRIVATE_FILE))
        make_private(path)


def make_private(path: Path) -> None:
    """Take a file or folder away from all but the user; somebody else's stays as it is."""
    with contextlib.suppress(OSError):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(mode & 0o700)
