"""Schema files: TOML, to be read and edited by people."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mmfusion.data.whole_files import replace_file
from mmfusion.utils.optional import need

T = TypeVar("T")

FORMAT = 1
"""Version of the TOML file."""


def write_schema_file(path: Path, packed: Mapping[str, Any]) -> None:
    """Write a new file.

    Args:
        path: The file; must not exist.
        packed: The schema as plain values.

    Raises:
        FileExistsError: If the file exists.
    """
    writer = need("tomli_w", "bench")
    if path.exists():
        raise FileExistsError(f"{path} exists already: choose another name, or remove it first")
    replace_file(path, writer.dumps({"format": FORMAT, **packed}).encode())


def read_schema_file(path: Path, unpack: Callable[[Mapping[str, Any]], T]) -> T:
    """Read a file of :func:`write_schema_file`.

    Args:
        path: The file.
        unpack: Builds the schema from plain values.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a schema file; names the key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the schema {path} does not exist")
    try:
        packed = tomllib.loads(path.read_text(encoding="utf-8"))
        if packed.get("format") != FORMAT:
            raise ValueError(f"its format is {packed.get('format')}, expected {FORMAT}")
        return unpack(packed)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a schema file: {error}") from error
