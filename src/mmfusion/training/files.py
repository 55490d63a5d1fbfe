"""Files that are either whole or not there: written beside their place, then moved into it."""

import json
from pathlib import Path
from typing import Any

from mmfusion.layers.files import replace_file


class WriteError(OSError):
    """A file could not be written; what was there before is untouched."""


def write_bytes(path: Path, content: bytes | bytearray | memoryview, *, via: Path | None = None) -> None:
    """Write a file in one step, as a reader or a crash sees it.

    Args:
        path: Its folder must exist. A former file stays whole until the new one is complete on the disk.
        content: All of it.
        via: Folder of the unfinished file, on the same disk; None: that of ``path``.

    Raises:
        WriteError: If the disk is full or the folder cannot be written; nothing half-written is left.
    """
    try:
        replace_file(path, content, via=via)
    except OSError as error:
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
    write_text(path, as_json(content))


def as_json(content: Any) -> str:
    """What :func:`write_json` writes."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


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
