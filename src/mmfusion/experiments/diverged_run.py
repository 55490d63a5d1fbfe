"""Record of a run that diverged, which is not resumed: it would diverge again."""

from pathlib import Path
from typing import Any

import torch

from mmfusion.experiments.folder import DIVERGED
from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.loss_log import NonFiniteLoss
from mmfusion.training.result_files import read_json, write_json


def record(out: Path, error: NonFiniteLoss, device: torch.device) -> None:
    """Write to a run's folder that it diverged.

    Args:
        out: The folder.
        error: What stopped the run.
        device: Where it trained.
    """
    write_json(out / DIVERGED, {"format": FORMAT, "device": device.type, "reason": " ".join(str(error).split())})


def check(out: Path, device: torch.device) -> None:
    """Raise an error for a run that diverged on the same kind of device: it would repeat exactly.

    Args:
        out: The run's folder.
        device: Where it would continue.

    Raises:
        NonFiniteLoss: If it diverged; the message has the reason and what to do.
    """
    path = out / DIVERGED
    if not path.is_file():
        return
    content: Any = read_json(path)
    record = content if isinstance(content, dict) else {}
    if record.get("device") not in (None, device.type):
        return
    raise NonFiniteLoss(
        f"{out} is not resumed, since it would diverge again: {record.get('reason', 'training diverged')}. Start a new "
        "run with other settings and another folder (run.out), or with overwrite=True. To resume it anyway, as with "
        f"another version of torch, delete {path}"
    )
