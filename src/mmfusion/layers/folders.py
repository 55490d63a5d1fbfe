"""Where things are kept that were computed once for many runs."""

import os
from pathlib import Path


def cache_folder(kind: str, folder: str | Path | None = None) -> Path:
    """The folder of one kind of things; it need not be there.

    Args:
        kind: ``"maps"``, ``"images"``.
        folder: Above it; None: ``$XDG_CACHE_HOME/mmfusion``, or ``~/.cache/mmfusion``.
    """
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmfusion"
    return Path(folder) / kind
