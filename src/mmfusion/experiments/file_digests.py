"""Digests of the files that a run reads: a corrected table at the same path is another input."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmfusion.experiments.settings import Settings

CONTENT = "content"
"""In ``case.json`` and ``metrics.json``: the value of :func:`recorded`; without it, nothing is known of the files."""

CASES = "cases"
"""In it: digests of labels, columns and images, see :mod:`mmfusion.experiments.survey`."""

FILES = ("table", "schema", "split_file")
"""Options of datasets that name a file which says what the cases are."""

WRITTEN = ("save_schema",)
"""Options of datasets that name a file which they write: no result depends on it."""


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
    data = {key: changed for key in FILES if (changed := _of_file(settings.data.get(key))) is not None}
    plugins = sorted(changed for path in settings.run.plugins if (changed := _of_file(path)) is not None)
    return {**({"data": data} if data else {}), **({"plugins": plugins} if plugins else {})}


def differences(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Files that differ from the recorded ones, in words; empty where nothing was recorded.

    Args:
        before: The value of :func:`recorded` when the run began.
        now: Its value now.
    """
    if not isinstance(before, dict):
        return []
    files = before.get("data")
    changed = []
    for key, kept in (files if isinstance(files, dict) else {}).items():
        if (digest := now.get("data", {}).get(key)) != kept:
            changed.append(f"the file data.{key}" + (", which cannot be read now" if digest is None else ""))
    if "plugins" in before and before["plugins"] != now.get("plugins"):
        changed.append("a plug-in's content")
    return changed


def _of_file(path: Any) -> str | None:
    """Digest of a file; None if it cannot be read, which the run reports itself."""
    try:
        return digest(Path(path).read_bytes())
    except (TypeError, ValueError, OSError):
        return None
