"""Threshold and temperature that a run chose on validation: locked, so that new cases never fit them again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.experiments import folder
from mmfusion.metrics.calibration import BOUNDS, apply_temperature
from mmfusion.metrics.ranking import Floats
from mmfusion.packed import entries, unpack
from mmfusion.training import checkpoints
from mmfusion.training.result_files import read_json

_KEYS = ("threshold", "temperature", "scores")


@dataclass(frozen=True)
class Locked:
    """What turns a run's probabilities into labels and calibrated probabilities.

    Attributes:
        threshold: Of two classes: the second one is called at this probability or above. None: the likeliest class is.
        temperature: Of :func:`~mmfusion.metrics.calibration.apply_temperature`; None: it is unknown.
        scores: By class, the ascending scores of calibration cases for conformal sets, see
            :mod:`mmfusion.metrics.conformal`; empty: the run took out no calibration cases.
        finished: Whether the run is finished; before, it has neither.

    Raises:
        ValueError: If a number is out of its range.
    """

    threshold: float | None = None
    temperature: float | None = None
    scores: tuple[tuple[float, ...], ...] = ()
    finished: bool = True

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold expects a number from 0 to 1, got {self.threshold}")
        if self.temperature is not None and not BOUNDS[0] <= self.temperature <= BOUNDS[1]:
            raise ValueError(f"temperature expects a number from {BOUNDS[0]} to {BOUNDS[1]}, got {self.temperature}")

        for own in self.scores:
            if list(own) != sorted(own) or (own and not 0 <= own[0] <= own[-1] <= 1):
                raise ValueError("scores expects numbers from 0 to 1 in ascending order for each class")

    def labels(self, probabilities: Floats) -> NDArray[np.int64]:
        """The class that each case is given: by the threshold of two classes, else the likeliest.

        Args:
            probabilities: Shape ``(n, k)``, not scaled: the threshold was chosen on these.

        Returns:
            Shape ``(n,)``, class indices.
        """
        if self.threshold is None or probabilities.shape[1] != 2:
            return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)
        return np.asarray(probabilities[:, 1] >= self.threshold, dtype=np.int64)

    def confidence(self, probabilities: Floats) -> Floats:
        """How sure the label of each case is, from 0 to 1, shape ``(n,)``; arguments as of :meth:`labels`.

        Of two classes the distance from the threshold, as a share of the largest one on that side; of more the largest
        probability.
        """
        if self.threshold is None or probabilities.shape[1] != 2:
            return np.asarray(probabilities.max(axis=1), dtype=np.float64)
        p, t = probabilities[:, 1], self.threshold
        above = (p - t) / (1 - t) if t < 1 else np.zeros(len(p))
        below = (t - p) / t if t > 0 else np.zeros(len(p))
        return np.asarray(np.where(p >= t, above, below), dtype=np.float64)

    def calibrated(self, probabilities: Floats) -> Floats | None:
        """Probabilities at the temperature, shape ``(n, k)``; None where it is unknown."""
        return None if self.temperature is None else apply_temperature(probabilities, self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """The content of the file, for JSON."""
        chosen = {"threshold": self.threshold, "temperature": self.temperature}
        scores = {"scores": [list(own) for own in self.scores]} if self.scores else {}
        return {"format": checkpoints.FORMAT, **chosen, **scores}


def of_metrics(metrics: Mapping[str, Any], where: str = folder.METRICS) -> Locked:
    """What a run's metrics say.

    Args:
        metrics: The content of ``metrics.json``, or of ``locked.json``.
        where: Its name, for messages.

    Raises:
        ValueError: If a value is not what a run writes.
    """
    return unpack(Locked, {key: metrics[key] for key in _KEYS if key in metrics}, where)


def read(place: Path) -> Locked:
    """What the run in a folder locked, from ``locked.json``, or of older runs from ``metrics.json``.

    Args:
        place: The run's folder, or a shared one.

    Raises:
        ValueError: If a file is damaged, or a newer version of the package wrote it.
    """
    for name in (folder.LOCKED, folder.METRICS):
        path = place / name
        if path.is_file():
            content = entries(read_json(path), str(path))
            checkpoints.check_format(path, content)
            try:
                return of_metrics(content, name)
            except ValueError as error:
                raise ValueError(f"{path} is damaged: {error}") from error
    return Locked(finished=False)
