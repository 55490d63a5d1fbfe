"""Folder listings, read once per folder: finding ten thousand files costs only a few listings."""

import os
import unicodedata
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


def _kind(entry: "os.DirEntry[str] | Path") -> bool | None:
    """True for a folder, False for a file, None for anything else: broken links, pipes, devices, no permission."""
    try:
        return True if entry.is_dir() else False if entry.is_file() else None
    except (OSError, ValueError):
        return None


def _fold(name: str) -> str:
    """Equal for names that differ only in case or in the encoding of accents."""
    return unicodedata.normalize("NFC", name).casefold()
