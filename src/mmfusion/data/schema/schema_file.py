"""A schema as a TOML file, to be read by people and edited."""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mmfusion.utils.files import replace_file
from mmfusion.utils.optional import need

T = TypeVar("T")

FORMAT = 1
"""Of the TOML file."""


def write_schema_file(path: Path, packed: Mapping[str, Any]) -> None:
    """Write a new file.

    Args:
        path: Where; must be free.
        packed: The schema as plain values.

    Raises:
        FileExistsError: If the file is there.
    """
    writer = need("tomli_w", "bench")
    if path.exists():
        raise FileExistsError(f"{path} is there already: choose another name, or remove it first")
    replace_file(path, writer.dumps({"format": FORMAT, **packed}).encode())


def read_schema_file(path: Path, unpack: Callable[[Mapping[str, Any]], T]) -> T:
    """Read what :func:`write_schema_file` wrote.

    Args:
        path: The file.
        unpack: Makes the schema of its plain values.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is not such a file, naming the key.
    """
    if not path.is_file():
        raise FileNotFoundError(f"the schema {path} is not there")
    try:
        packed = tomllib.loads(path.read_text(encoding="utf-8"))
        if packed.get("format") != FORMAT:
            raise ValueError(f"its format is {packed.get('format')}, expected {FORMAT}")
        return unpack(packed)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a table's schema: {error}") from error
