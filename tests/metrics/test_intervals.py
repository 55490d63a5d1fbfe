import time
from statistics import NormalDist

import numpy as np
import pytest

from helpers.marks import EXHAUSTIVE
from mmfusion.metrics.intervals import estimates


def synthetic(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    p1 = 1 / (1 + np.exp(-(rng.normal(size=n) + y)))
    return np.stack([1 - p1, p1], axis=1), y


def test_auc_error_matches_hanley_mcneil() -> None:
    p, y = synthetic(400, seed=0)
    found = estimates(p, y)["auc"]
    a, n = found.value, 200
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    formula = np.sqrt((a * (1 - a) + (n - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / n**2)
    assert found.error == pytest.approx(formula, rel=0.15)
    assert found.low < found.value < found.high
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(found.error, rel=0.1)


def test_duplicated_cases_do_not_narrow_interval() -> None:
    p, y = synthetic(60, seed=1)
    once = estimates(p, y, n_resamples=500)["auc"]
    thrice = estimates(
        np.repeat(p, 3, axis=0), np.repeat(y, 3), [str(i) for i in np.repeat(np.arange(60), 3)], n_resamples=500
    )["auc"]
    naive = estimates(np.repeat(p, 3, axis=0), np.repeat(y, 3), n_resamples=500)["auc"]
    assert thrice.error == pytest.approx(once.error, rel=0.15)
    assert naive.error < 0.7 * once.error


def test_undefined_metric_has_no_interval() -> None:
    found = estimates([[0.4, 0.6], [0.7, 0.3]], [1, 1], n_resamples=20)["auc"]
    assert found.to_dict() == {"value": None, "low": None, "high": None, "error": None}


@pytest.mark.slow
def test_runtime_of_2000_cases_and_resamples() -> None:
    p, y = synthetic(2000, seed=2)
    began = time.process_time()
    estimates(p, y)
    assert time.process_time() - began < 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("auc", "cases_of_a_patient"),
    [(0.75, 1), (0.9, 2), *(pytest.param(*one, marks=EXHAUSTIVE) for one in ((0.75, 2), (0.9, 1)))],
)
def test_auc_interval_has_nominal_coverage(auc: float, cases_of_a_patient: int) -> None:
    """320 patients, 30% of them positive, whose cases share half of their variance; nominal 95%."""
    rng = np.random.default_rng(0)
    n, draws = 320, 400
    y = np.repeat(np.arange(n) % 10 < 3, cases_of_a_patient).astype(int)
    groups = [str(i) for i in np.repeat(np.arange(n), cases_of_a_patient)]
    shift = np.sqrt(2) * NormalDist().inv_cdf(auc)
    held = 0
    for draw in range(draws):
        patient = np.repeat(rng.normal(size=n), cases_of_a_patient)
        own = rng.normal(size=len(y))
        score = np.sqrt(0.5) * (patient + own) + shift * y
        p1 = 1 / (1 + np.exp(-score))
        found = estimates(np.stack([1 - p1, p1], 1), y, groups, n_resamples=100, seed=draw)["auc"]
        held += found.low <= auc <= found.high
    assert 0.92 <= held / draws <= 0.98


def test_resamples_without_a_class_are_ignored() -> None:
    """The only case of class 2 is in a patient who counts to class 0, so that a resample may lack it."""
    y = np.array([0, 0, 2, 0, 0, 1, 1])
    groups = ["a", "a", "a", "b", "c", "d", "e"]
    p = np.full((7, 3), 0.2)
    # Class 2 is called where it is not: without it the recalls are better.
    p[np.arange(7), [0, 0, 1, 0, 0, 1, 1]] = 0.6
    found = estimates(p, y, groups, n_resamples=300)
    assert found["balanced_accuracy"].value == pytest.approx(2 / 3)
    # Every resample that has class 2 finds the others and not it, which varies for accuracy alone.
    assert np.isnan(found["balanced_accuracy"].low)
    assert found["accuracy"].error > 0


def test_no_resamples_give_no_interval() -> None:
    found = estimates([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], [0, 1, 0], n_resamples=0)["auc"]
    assert found.value == 1.0
    assert np.isnan([found.low, found.high]).all()
