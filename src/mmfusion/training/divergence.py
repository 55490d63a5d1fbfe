"""A training that diverged: what may help, and that a resumed run would do the same again."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.folder import DIVERGED
from mmfusion.training.losslog import NonFiniteLoss
from mmfusion.training.result_files import read_json, write_json
from mmfusion.training.settings import Settings


def advice(settings: Settings) -> str:
    """What a user can change, with the values that it has."""
    train = settings.train
    parts = [f"a lower train.lr (it is {train.lr:g})"]
    if not train.warmup_epochs:
        parts.append("train.warmup_epochs=1")
    clip = train.clip_norm
    parts.append("train.clip_norm=1" if clip is None else f"a lower train.clip_norm (it is {clip:g})")
    if settings.run.precision != "no":
        parts.append("--precision no")
    return f"start anew with {', '.join(parts[:-1])} or {parts[-1]}"


def n_not_finite(weights: Iterable[Tensor]) -> int:
    """How many weights are NaN or infinite; the device is read once."""
    counts = [(~weight.detach().isfinite()).sum() for weight in weights]
    return int(torch.stack(counts).sum()) if counts else 0


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
