"""Result files: written whole or not at all, and JSON that is read with care."""

import json
from pathlib import Path
from typing import Any

from mmfusion.data.whole_files import replace_file

DEEPEST = 50
"""Levels of nesting in a JSON file; ours have fewer than ten."""
_DIGITS = 300


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
            f"cannot write {path}: {error.strerror or error}; {former}make room or check permissions"
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
        FileNotFoundError: If it does not exist.
        ValueError: If it is not JSON, as :func:`parse_json`; names the file.
    """
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def parse_json(text: str) -> Any:
    """What a JSON text says, in values that can be worked with: nothing nested without end, every number finite.

    Raises:
        ValueError: If it is not JSON, nested deeper than :data:`DEEPEST`, or has NaN, an
            infinite number or one that no float can hold.
    """
    try:
        content = json.loads(text, parse_int=_whole, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    level: list[Any] = [content]
    for _ in range(DEEPEST):
        level = [
            value
            for container in level
            if isinstance(container, dict | list)
            for value in (container.values() if isinstance(container, dict) else container)
        ]
        if not level:
            return content
    raise ValueError(f"it is nested deeper than {DEEPEST} levels")


def _refuse(constant: str) -> float:
    raise ValueError(f"it has a number that is not finite, {constant}")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"it has a number of {len(digits)} digits")
    return int(digits)
