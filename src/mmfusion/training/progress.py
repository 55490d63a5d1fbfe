"""Progress of a training: its history and its best epoch."""

from dataclasses import dataclass, field
from typing import Any

from mmfusion.metrics.classification import LOWER_IS_BETTER


@dataclass
class Progress:
    """What happened so far; JSON-able, and kept in ``last.safetensors``.

    Attributes:
        epoch: Epochs done, over all phases.
        phase: The phase that the last of them belonged to.
        history: One entry an epoch.
        best_epoch: The epoch whose weights are kept, from 1; 0: none yet.
        best_value: Its value of the metric; None where that was undefined.
    """

    epoch: int = 0
    phase: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float | None = None


def better(value: float | None, progress: Progress, metric: str) -> bool:
    """Whether this epoch takes the best one's place: the first does, then what is strictly better.

    As long as the metric is undefined the last epoch does: nothing speaks for the first.
    """
    if not progress.best_epoch or progress.best_value is None:
        return True
    if value is None:
        return False
    return value < progress.best_value if metric in LOWER_IS_BETTER else value > progress.best_value


def line(title: str, progress: Progress, metric: str) -> str:
    """The last epoch in a line."""
    entry = progress.history[-1]
    losses = ", ".join(f"{name} {value:.4f}" for name, value in entry["losses"].items())
    value = entry["validation"].get(metric)
    score = f"; validation {metric} {value:.4f}" if value is not None else ""
    mark = " (best)" if progress.best_epoch == progress.epoch else ""
    return f"{title}: {losses}{score}{mark}; {entry['seconds']:.1f} s"
