"""The files that say what a run computes, told by what is in them: a corrected table is another, at the same path."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmfusion.experiments.settings import Settings

CONTENT = "content"
"""In ``case.json`` and ``metrics.json``: what :func:`recorded` says; without it, nothing is known of the files."""

CASES = "cases"
"""In it: digests of labels, columns and images, see :mod:`mmfusion.experiments.survey`."""

FILES = ("table", "schema", "split_file")
"""Options of datasets that name a file which says what the cases are."""

WRITTEN = ("save_schema",)
"""Options of datasets that name a file which they write: nothing that is computed hangs on it."""


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def by_content(data: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a dataset with a digest in the place of each file, a path that cannot be read as it is; without
    those of files that it writes.
    """
    read = {key: value for key, value in data.items() if key not in WRITTEN}
    return {key: _of_file(value) or value if key in FILES else value for key, value in read.items()}


def of_plugins(settings: Settings) -> list[str]:
    """A digest of each plug-in, sorted.

    Raises:
        OSError: If one cannot be read.
    """
    return sorted(digest(Path(path).read_bytes()) for path in settings.run.plugins)


def recorded(settings: Settings) -> dict[str, Any]:
    """What is kept of the files that a run reads now: ``{"data": {option: digest}, "plugins": [digest]}``.

    Empty where there are no such files; of those that cannot be read nothing is kept.
    """
    data = {key: found for key in FILES if (found := _of_file(settings.data.get(key))) is not None}
    plugins = sorted(found for path in settings.run.plugins if (found := _of_file(path)) is not None)
    return {**({"data": data} if data else {}), **({"plugins": plugins} if plugins else {})}


def differences(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Which files are others than those that were recorded, in words; empty where nothing was recorded.

    Args:
        before: What :func:`recorded` said when the run began.
        now: What it says now.
    """
    if not isinstance(before, dict):
        return []
    files = before.get("data")
    found = []
    for key, kept in (files if isinstance(files, dict) else {}).items():
        if (digest := now.get("data", {}).get(key)) != kept:
            found.append(f"the file data.{key}" + (", which cannot be read now" if digest is None else ""))
    if "plugins" in before and before["plugins"] != now.get("plugins"):
        found.append("a plug-in's content")
    return found


def _of_file(path: Any) -> str | None:
    """None of what is no file: the run will say what is wrong with it."""
    try:
        return digest(Path(path).read_bytes())
    except (TypeError, ValueError, OSError):
        return None
