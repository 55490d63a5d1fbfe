"""Record of how the settings of a run were chosen by trials, kept in the folder of each run that has them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.classification import LOWER_IS_BETTER
from mmfusion.metrics.expected_best import expected_best
from mmfusion.option_checks import takes
from mmfusion.training.checkpoints import FORMAT

TUNED, UNTUNED = "(tuned)", "(at the recipe)"
"""Behind the label of a tuned method, and of the same method with the settings of its recipe."""


@dataclass(frozen=True)
class Trial:
    """A trial of settings.

    Attributes:
        number: 0 for the recipe.
        values: By setting, as ``section.key``.
        scores: Validation metric of the kept epoch, by seed; of one seed, or of all three for the best trials. None
            where the run diverged or the metric is undefined.
        diverged: Number of its runs that diverged.
        seconds: Of training, over its runs that did not diverge.
        runs: Addresses of its runs.
    """

    number: int
    values: Mapping[str, Any]
    scores: tuple[float | None, ...]
    diverged: int
    seconds: float
    runs: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean of the defined scores; NaN if there is none."""
        defined = [score for score in self.scores if score is not None]
        return fmean(defined) if defined else math.nan


@dataclass(frozen=True)
class Tuning:
    """The trials of a method on one dataset and fold, and the choice.

    Attributes:
        n_trials: Number of trials beside the recipe.
        metric: Validation metric that chose.
        seeds: Seeds of the trials: the first of all, the others of the best.
        space: By setting, its range in words.
        dropped: By setting that was not tuned, why.
        trials: By number, the recipe first.
        chosen: Number of the chosen trial.
    """

    n_trials: int
    metric: str
    seeds: tuple[int, ...]
    space: Mapping[str, str]
    dropped: Mapping[str, str]
    trials: tuple[Trial, ...]
    chosen: int

    @property
    def choice(self) -> Trial:
        """The chosen trial."""
        return self.trials[self.chosen]

    @property
    def recipe(self) -> Trial:
        """Trial 0."""
        return self.trials[0]

    @property
    def hours(self) -> float:
        """Hours of training of all trials that did not diverge."""
        return sum(trial.seconds for trial in self.trials) / 3600

    @property
    def n_runs(self) -> int:
        """Number of runs of all trials."""
        return sum(len(trial.runs) for trial in self.trials)

    @property
    def n_diverged(self) -> int:
        """Number of runs that diverged."""
        return sum(trial.diverged for trial in self.trials)

    @property
    def borders(self) -> dict[str, str]:
        """By setting whose chosen value has no trial beyond it: ``smallest`` or ``largest``."""
        found = {
            key: beyond([trial.values[key] for trial in self.trials], value)
            for key, value in self.choice.values.items()
        }
        return {key: where for key, where in found.items() if where is not None}

    def expected_best(self) -> NDArray[np.float64]:
        """Expected best score of 1 to N trials, the recipe not counted; a trial without a score has the worst one.

        Returns:
            Shape ``(N,)``; NaN if no trial has a score.
        """
        first = [trial.scores[0] for trial in self.trials[1:]]
        defined = [score for score in first if score is not None]
        if not defined:
            return np.full(len(first), np.nan)
        lower = self.metric in LOWER_IS_BETTER
        worst = max(defined) if lower else min(defined)
        return expected_best([worst if score is None else score for score in first], lower_is_better=lower)

    def to_dict(self) -> dict[str, Any]:
        """The content of ``tuning.json``."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_dict(cls, packed: Any) -> "Tuning":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If it is not what a sweep writes.
        """
        if not (_has(packed, _TUNING) and packed["trials"] and all(_has(trial, _TRIAL) for trial in packed["trials"])):
            raise ValueError("it is not what a sweep writes")
        trials = tuple(
            Trial(
                trial["number"],
                trial["values"],
                tuple(trial["scores"]),
                trial["diverged"],
                trial["seconds"],
                tuple(trial["runs"]),
            )
            for trial in packed["trials"]
        )
        chosen, keys = packed["chosen"], packed["space"].keys()
        if [trial.number for trial in trials] != list(range(len(trials))) or not 0 <= chosen < len(trials):
            raise ValueError("its trials are not numbered from 0, or the chosen one is not among them")
        if any(trial.values.keys() != keys or not trial.scores for trial in trials):
            raise ValueError("a trial lacks a setting or a score")
        return cls(
            n_trials=packed["n_trials"],
            metric=packed["metric"],
            seeds=tuple(packed["seeds"]),
            space=packed["space"],
            dropped=packed["dropped"],
            trials=trials,
            chosen=chosen,
        )


def beyond(tried: Collection[Any], value: Any) -> str | None:
    """Whether no trial lies beyond a value: ``smallest`` or ``largest`` of those tried; None for one in between.

    Args:
        tried: The values of all trials.
        value: The chosen one. What is no number, such as a name, has no border.
    """
    numbers = [number for number in tried if isinstance(number, int | float) and not isinstance(number, bool)]
    if value not in numbers or isinstance(value, bool) or len(set(numbers)) < 2:
        return None
    return "smallest" if value <= min(numbers) else "largest" if value >= max(numbers) else None


_TUNING: Mapping[str, Any] = {
    **{"n_trials": int, "metric": str, "seeds": Sequence[int], "chosen": int, "trials": Sequence[dict[str, Any]]},
    **{"space": dict[str, str], "dropped": dict[str, str]},
}
_TRIAL: Mapping[str, Any] = {
    **{"number": int, "values": dict[str, Any], "diverged": int, "seconds": float, "runs": Sequence[str]},
    "scores": Sequence[float | None],
}


def _has(packed: Any, hints: Mapping[str, Any]) -> bool:
    return isinstance(packed, dict) and all(key in packed and takes(packed[key], hint) for key, hint in hints.items())
