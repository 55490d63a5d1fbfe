"""A run that diverged: its folder says so, and it is not resumed, for it would do the same again."""

from pathlib import Path
from typing import Any

import torch

from mmfusion.experiments.folder import DIVERGED
from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.loss_log import NonFiniteLoss
from mmfusion.training.result_files import read_json, write_json


def record(out: Path, error: NonFiniteLoss, device: torch.device) -> None:
    """Leave in a run's folder that it diverged.

    Args:
        out: The folder.
        error: What stopped the run.
        device: Where it trained.
    """
    write_json(out / DIVERGED, {"format": FORMAT, "device": device.type, "reason": " ".join(str(error).split())})


def check(out: Path, device: torch.device) -> None:
    """Refuse to go on with a run that diverged: its steps are repeated exactly, and so would the divergence be.

    On another kind of device they are not.

    Args:
        out: The run's folder.
        device: Where it would go on.

    Raises:
        NonFiniteLoss: Saying what happened and what to do.
    """
    path = out / DIVERGED
    if not path.is_file():
        return
    found: Any = read_json(path)
    record = found if isinstance(found, dict) else {}
    if record.get("device") not in (None, device.type):
        return
    raise NonFiniteLoss(
        f"{out} is not resumed, for it would end the same again: {record.get('reason', 'training diverged')}. Give the "
        "new settings another --out, or --overwrite. To repeat it all the same, as with another version of torch, "
        f"delete {path}"
    )
