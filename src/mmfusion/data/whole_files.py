"""Files that are either whole or absent: written next to their place, then moved into it."""

import os
import tempfile
from pathlib import Path

SUFFIX = ".part"
"""Of what a kill in the middle of writing leaves behind; nobody reads it."""


def replace_file(path: Path, content: bytes | bytearray | memoryview, *, via: Path | None = None) -> None:
    """Write a file in one step, as a reader or a crash sees it.

    Args:
        path: Its folder must exist. A former file stays whole until the new one is complete on the disk.
        content: All of it.
        via: Folder of the unfinished file, on the same disk; None: that of ``path``.

    Raises:
        OSError: If the disk is full or the folder cannot be written; nothing unfinished is left.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=via or path.parent, prefix=prefix(path, via), suffix=SUFFIX)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp is for secrets; a result is as readable as the user's other files.
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, path)
    except BaseException:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise


def prefix(path: Path, via: Path | None = None) -> str:
    """How the name of the unfinished file of ``path`` begins; that in another folder says whose it is."""
    return f".{path.name}." if via is None else f".{path.parent.name}.{path.name}."


def umask() -> int:
    """The process's own."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
