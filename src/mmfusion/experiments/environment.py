"""Environment of a result: versions, commit, hardware, cost."""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmfusion.tokens import Inputs

_PACKAGES = (
    *("mmfusion", "torch", "timm", "numpy", "pandas", "accelerate", "pytorch-metric-learning", "safetensors"),
    # What reference rows are fitted with, and tests are computed with.
    *("scikit-learn", "scipy", "lightgbm", "tabpfn"),
)


def describe(device: torch.device) -> dict[str, Any]:
    """Versions, commit, hardware and date; JSON-able."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
        "commit": commit(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
    }


def commit() -> str | None:
    """The commit of the package's own checkout, with ``+changes`` where files differ from it; None outside git."""
    here = Path(__file__)
    # A package installed inside somebody's project must not report that project's commit.
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    head = _git(here.parent, "rev-parse", "HEAD")
    return f"{head}+changes" if head and _git(here.parent, "status", "--porcelain", "-uno") else head


def peak_memory(device: torch.device) -> int | None:
    """Bytes: of the GPU's allocator on CUDA, else of the process since its start; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def flops(model: nn.Module, inputs: Inputs) -> int:
    """Floating-point operations of one forward pass, a multiply-add counted as two; matrix products and
    convolutions only, as torch counts them.
    """
    from torch.utils.flop_counter import FlopCounterMode

    training = model.training
    # The counter hooks itself to whatever requires a gradient, a view of a parameter too, for which it fails.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval().requires_grad_(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(inputs)
    finally:
        model.train(training)
        for parameter in trained:
            parameter.requires_grad_(True)
    return int(counter.get_total_flops())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
