"""Files that are either whole or not there: written beside their place, then moved into it."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


class WriteError(OSError):
    """A file could not be written; what was there before is untouched."""


def write_bytes(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file in one step, as a reader or a crash sees it.

    Args:
        path: Its folder must exist. A former file stays whole until the new one is complete on the disk.
        content: All of it.

    Raises:
        WriteError: If the disk is full or the folder cannot be written; nothing half-written is left.
    """
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp is for secrets; a result is as readable as the user's other files.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        former = "the former one is still whole; " if path.exists() else ""
        raise WriteError(
            f"cannot write {path}: {error.strerror or error}; {former}make room or check permissions, then go on with "
            f"--resume {path.parent}"
        ) from error


def write_text(path: Path, content: str) -> None:
    """As :func:`write_bytes`, in UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """As :func:`write_bytes`, as indented JSON; a number that is not finite is an error, not invalid JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is not JSON; names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
