"""Free memory of a device, for errors before an allocation that cannot fit."""

import os
from pathlib import Path

import torch

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")
_MEMINFO = Path("/proc/meminfo")
_GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def free_memory(device: torch.device | str = "cpu") -> int | None:
    """Bytes that can still be allocated.

    On the CPU what Linux calls available, or less in a container with a limit; elsewhere the physical memory.

    Args:
        device: Of the CPU or CUDA.

    Returns:
        None where the system does not say.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    known = [size for size in (_available(), *(_left(*files) for files in _GROUPS)) if size is not None]
    return min(known, default=None)


def in_words(n_bytes: float) -> str:
    """A size as it is read best: ``19.8 GB``."""
    unit = 0
    while n_bytes >= 1000 and unit < len(_UNITS) - 1:
        n_bytes, unit = n_bytes / 1000, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"


def _available() -> int | None:
    try:
        for line in _MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return None
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _left(limit: Path, used: Path) -> int | None:
    """Of a control group; its files say ``max`` where there is no limit."""
    try:
        return max(0, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):
        return None
