"""Plug-ins and consent: what a user names is run, what a folder names is run only if the user allowed it before.

A run's settings name the plug-ins that it was trained with. The folder may come from a stranger, and a plug-in is code
that runs with the user's rights. What was allowed is kept in the user's configuration, by place and content.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mmfusion.data.whole_files import replace_file
from mmfusion.experiments import plugin_files
from mmfusion.option_checks import takes

FILE = "plugins.json"
"""In the user's configuration: by the place of a plug-in, the SHA-256 of each content that was allowed."""


def run_given(paths: Iterable[str | Path]) -> None:
    """Run the plug-ins that the user names, and remember that they are allowed.

    Args:
        paths: Of Python files.

    Raises:
        FileNotFoundError: If one does not exist.
        mmfusion.registry.PluginError: If one fails.
    """
    done = plugin_files.import_files(paths)
    known = _known()
    new = {place: digest for place, digest in done.items() if digest not in known.get(place, ())}
    if not new:
        return
    for place, digest in new.items():
        known[place] = [*known.get(place, ()), digest]
    path = _file()
    # Without a place to remember it in, the user is asked again.
    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, (json.dumps(known, indent=2) + "\n").encode())
            path.chmod(0o600)


def run_named(paths: Iterable[str | Path], where: Path) -> None:
    """Run the plug-ins that a run's folder names, those alone that the user has allowed.

    Args:
        paths: Of Python files. One that this process runs already is not asked about.
        where: Who names them, for the message.

    Raises:
        FileNotFoundError: If one does not exist.
        mmfusion.registry.PluginError: If one was not allowed, then none of them is run; or if one fails.
    """
    known = _known()
    plugin_files.import_files(
        paths, allowed=lambda place, digest: digest in known.get(place, ()), named_by=f"the run in {where}"
    )


def _known() -> dict[str, list[str]]:
    path = _file()
    try:
        packed = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(packed, dict):
        return {}
    return {place: digests for place, digests in packed.items() if takes(digests, list[str])}


def _file() -> Path | None:
    above = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(above) if above else Path.home() / ".config") / "mmfusion" / FILE
    except RuntimeError:  # a user without a home
        return None
