"""Folder listings, read once per folder: finding ten thousand files costs only a few listings."""

import os
import unicodedata
from fnmatch import fnmatchcase
from pathlib import Path, PurePath


class Listing:
    """Contents of folders, each as of its first look-up.

    An exact name comes first; else a name that differs only in case, if exactly one entry matches. Tables and disks
    often disagree in case: ``NEL/NEL025.JPG`` in the table is ``NEL/Nel025.jpg`` on the disk.
    """

    def __init__(self) -> None:
        self._folders: dict[str, tuple[dict[str, bool], dict[str, list[str]]]] = {}

    def file(self, root: Path, name: str) -> Path | None:
        """The file of that name below the root; None if there is none, or if several differ from it only in case."""
        entry = self._find(root, name)
        return entry[0] if entry is not None and not entry[1] else None

    def folder(self, root: Path, name: str) -> Path | None:
        """The folder of that name below the root; likewise."""
        entry = self._find(root, name)
        return entry[0] if entry is not None and entry[1] else None

    def entries(self, folder: Path) -> dict[str, bool]:
        """The names in a folder, sorted, and whether each is a folder; hidden ones are left out.

        Empty if the folder does not exist.
        """
        return self._entries(str(folder))[0]

    def matches(self, root: Path, pattern: str) -> list[str]:
        """Names of files and folders below the root that a pattern matches, sorted.

        Args:
            root: The folder that the pattern is relative to.
            pattern: ``*``, ``?`` and ``[...]`` within a name, ``**`` for any number of folders. Upper and lower case do
                not differ; hidden files are left out.
        """
        found = [""]
        for piece in PurePath(pattern).parts:
            found = list(dict.fromkeys(name for start in found for name in self._step(root, start, piece)))
        return sorted(name for name in found if name)

    def _step(self, root: Path, start: str, piece: str) -> list[str]:
        """The names that one piece of a pattern leads to, from a folder below the root."""
        place = os.path.join(root, start)
        if piece == ".." or PurePath(piece).is_absolute():
            return [os.path.join(start, piece)]
        if piece == "**":
            return self._folders_below(root, start)
        entries, folded = self._entries(place)
        if not is_pattern(piece):
            alike = [piece] if piece in entries else folded.get(_fold(piece), [])
            return [os.path.join(start, name) for name in alike if len(alike) == 1]
        wanted = _fold(piece)
        return [os.path.join(start, name) for name in entries if fnmatchcase(_fold(name), wanted)]

    def _folders_below(self, root: Path, start: str) -> list[str]:
        """A folder and all folders in it; each once, also where links lead in circles."""
        found, left, seen = [], [start], set()
        while left:
            name = left.pop()
            real = os.path.realpath(os.path.join(root, name))
            if real not in seen:
                seen.add(real)
                found.append(name)
                entries = self._entries(os.path.join(root, name))[0]
                left += [os.path.join(name, entry) for entry, is_folder in entries.items() if is_folder]
        return found

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
                with os.scandir(place) as entries_on_disk:
                    kinds = {entry.name: _kind(entry) for entry in entries_on_disk if not entry.name.startswith(".")}
                entries = {name: kind for name, kind in sorted(kinds.items()) if kind is not None}
            for name in entries:
                folded.setdefault(_fold(name), []).append(name)
            self._folders[place] = entries, folded
        return self._folders[place]


def is_pattern(name: str) -> bool:
    """Whether a name has a character that stands for others: ``*``, ``?`` or ``[``."""
    return any(character in name for character in "*?[")


def _kind(entry: "os.DirEntry[str] | Path") -> bool | None:
    """True for a folder, False for a file, None for anything else: broken links, pipes, devices, no permission."""
    try:
        return True if entry.is_dir() else False if entry.is_file() else None
    except (OSError, ValueError):
        return None


def _fold(name: str) -> str:
    """Equal for names that differ only in case or in the encoding of accents."""
    return unicodedata.normalize("NFC", name).casefold()
