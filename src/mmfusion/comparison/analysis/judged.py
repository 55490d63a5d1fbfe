"""A run with its test cases in order, and what its validation cases choose: threshold and temperature."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.analysis.held_out import test_set_of
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.experiments.held_out_cases import Cases
from mmfusion.metrics.calibration import apply_temperature, fit_temperature
from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import best_threshold
from mmfusion.metrics.ranking import Floats


@dataclass(frozen=True)
class Judged:
    """A run with its test cases in the order of their ids, and the threshold and temperature from validation.

    Attributes:
        run: The run.
        cases: Its test cases by id.
        threshold: On class 1; None for more than two classes.
        temperature: None where it is unknown.
    """

    run: FinishedRun
    cases: Cases
    threshold: float | None
    temperature: float | None

    @cached_property
    def test_set(self) -> str:
        """Equal for runs of the same fold whose test cases are the same, with the same labels and groups."""
        return test_set_of(self.run)

    @cached_property
    def test_cases(self) -> TestCases:
        """Labels and groups of its test cases."""
        return self.cases_of(np.arange(len(self.cases)))

    def cases_of(self, rows: NDArray[np.intp]) -> TestCases:
        """Labels and groups of some of its test cases."""
        classes = self.run.classes
        groups = self.cases.groups[rows].tolist()
        return TestCases.of(self.cases.labels[rows], groups, len(classes), classes)

    @cached_property
    def scaled(self) -> Floats | None:
        """Probabilities after temperature scaling."""
        return None if self.temperature is None else apply_temperature(self.cases.probabilities, self.temperature)


def judge(run: FinishedRun) -> Judged:
    """A run with the threshold and temperature of its validation cases, or without these the values that it stored.

    A threshold in its settings is kept.
    """
    order = np.argsort(run.test.ids, kind="stable")
    binary, held_out = len(run.classes) == 2, run.validation
    threshold, temperature = run.metrics.get("threshold"), run.metrics.get("temperature")
    if held_out is not None:
        if binary and run.settings.train.threshold is None:
            threshold = best_threshold(held_out.probabilities, held_out.labels)
        temperature = fit_temperature(held_out.probabilities, held_out.labels)
    elif binary and threshold is None:
        threshold = 0.5
    return Judged(run, run.test.take(order), threshold if binary else None, temperature)
