"""The files of folders, each folder listed once: looking for ten thousand names costs what a few listings cost."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePath


class Listing:
    """What stands in some folders, as it was when each was first asked for.

    A name is found as it stands; and else where capitals alone differ, if one entry fits and no more. Tables and disks
    disagree about them: ``NEL/NEL025.JPG`` in the table is ``NEL/Nel025.jpg`` on the disk.
    """

    def __init__(self) -> None:
        self._folders: dict[str, tuple[dict[str, bool], dict[str, list[str]]]] = {}

    def file(self, root: Path, name: str) -> Path | None:
        """The file of that name below the root; None: there is none, or several differ from it in capitals alone."""
        found = self._find(root, name)
        return found[0] if found is not None and not found[1] else None

    def folder(self, root: Path, name: str) -> Path | None:
        """The folder of that name below the root; likewise."""
        found = self._find(root, name)
        return found[0] if found is not None and found[1] else None

    def first_file(self, root: Path, names: Iterable[str]) -> Path | None:
        """The first of several names that is a file."""
        return next((path for name in names if (path := self.file(root, name)) is not None), None)

    def entries(self, folder: Path) -> dict[str, bool]:
        """The names in a folder, sorted, and whether each is a folder itself; those that begin with a dot left out.

        Empty where there is no such folder.
        """
        return self._entries(str(folder))[0]

    def _find(self, root: Path, name: str) -> tuple[Path, bool] | None:
        """A path, and whether it is a folder."""
        pieces = PurePath(name).parts
        if PurePath(name).is_absolute() or ".." in pieces:
            path = root / name
            kind = _kind(path)
            return None if kind is None else (path, kind)
        place, is_folder = str(root), True
        for piece in pieces:
            entries, folded = self._entries(place) if is_folder else ({}, {})
            if piece not in entries:
                alike = folded.get(_fold(piece), [])
                if len(alike) != 1:
                    return None
                piece = alike[0]
            place, is_folder = os.path.join(place, piece), entries[piece]
        return Path(place), is_folder

    def _entries(self, place: str) -> tuple[dict[str, bool], dict[str, list[str]]]:
        if place not in self._folders:
            entries: dict[str, bool] = {}
            folded: dict[str, list[str]] = {}
            if os.path.isdir(place):
                with os.scandir(place) as found:
                    kinds = {one.name: _kind(one) for one in found if not one.name.startswith(".")}
                entries = {name: kind for name, kind in sorted(kinds.items()) if kind is not None}
            for name in entries:
                folded.setdefault(_fold(name), []).append(name)
            self._folders[place] = entries, folded
        return self._folders[place]


def _kind(entry: "os.DirEntry[str] | Path") -> bool | None:
    """Whether it is a folder, else a file; None for neither.

    A link that leads nowhere or in a circle, a pipe and a device are neither, and so is what cannot be looked at.
    """
    try:
        return True if entry.is_dir() else False if entry.is_file() else None
    except (OSError, ValueError):
        return None


def _fold(name: str) -> str:
    """Equal for names that differ in capitals, or in how accents are written, alone."""
    return unicodedata.normalize("NFC", name).casefold()
