"""Cells that name several images of a case: names separated by semicolons, and patterns."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from mmfusion.data.images.listing import is_pattern

SEPARATOR: Final = ";"
"""Between two names in a cell."""


class BagFiles(NamedTuple):
    """The files of a cell.

    Attributes:
        paths: Each once, in the order of the cell; those of a pattern sorted.
        lacking: Names and patterns without a file.
    """

    paths: tuple[Path, ...]
    lacking: tuple[str, ...]


def names_of(text: str) -> list[str]:
    """The names and patterns in a cell, without blanks around them and without empty ones."""
    return [name for part in text.split(SEPARATOR) if (name := part.strip())]


def may_be_bag(text: str) -> bool:
    """Whether a cell names several images, unless a file has that very name."""
    return SEPARATOR in text or is_pattern(text)


def bag_files(
    text: str, find: Callable[[str], Path | None], matches: Callable[[str], list[Path]], most: int
) -> BagFiles:
    """Find the files of a cell.

    A file whose name is the whole cell, or the whole part between two semicolons, comes before what its characters
    could mean.

    Args:
        text: The cell.
        find: The file of a name.
        matches: The files that a pattern matches.
        most: Most images of a case; with 1 the whole cell is a name.
    """
    if (whole := find(text)) is not None:
        return BagFiles((whole,), ())
    if most == 1:
        return BagFiles((), (text,))
    paths: dict[str, Path] = {}
    lacking = []
    for name in names_of(text):
        path = find(name)
        of_name = [path] if path is not None else []
        if path is None and is_pattern(name):
            of_name = matches(name)
        if not of_name:
            lacking.append(name)
        for path in of_name:
            paths.setdefault(os.path.abspath(path), path)
    return BagFiles(tuple(paths.values()), tuple(lacking) if paths or lacking else (text,))
