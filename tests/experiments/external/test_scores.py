import numpy as np
import pytest

from mmfusion.experiments.external.scores import LabelledCases, at_threshold, score, score_subgroups
from mmfusion.experiments.locked import Locked
from mmfusion.metrics.calibration import apply_temperature
from mmfusion.metrics.classification import evaluate

NAMES = ("good", "bad")


def cases(n: int = 60, seed: int = 0) -> LabelledCases:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    p = np.clip(0.35 + 0.3 * y + 0.2 * rng.normal(size=n), 0.01, 0.99)
    return LabelledCases(y, tuple(f"g{i // 2}" for i in range(n)), np.stack([1 - p, p], 1))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_decision_metrics_use_locked_threshold(threshold: float) -> None:
    of = cases()
    found = at_threshold(of, Locked(threshold, 1.5), NAMES, n_resamples=0, seed=0)
    y, called = of.labels, of.probabilities[:, 1] >= threshold
    hit, miss = (called == y)[y == 1].mean(), (called == y)[y == 0].mean()
    assert found["sensitivity"].value == found["accuracy_bad"].value == pytest.approx(hit)
    assert found["specificity"].value == found["accuracy_good"].value == pytest.approx(miss)
    assert found["accuracy"].value == pytest.approx((called == y).mean())
    assert found["balanced_accuracy"].value == pytest.approx((hit + miss) / 2)
    assert found["mcc"].value == pytest.approx(np.corrcoef(called, y)[0, 1])
    # Of the probabilities themselves, whatever the threshold.
    plain = evaluate(of.probabilities, y)
    for name in ("auc", "average_precision", "brier", "ece", "log_loss"):
        assert found[name].value == plain[name][0]


def test_calibrated_metrics_use_locked_temperature() -> None:
    of = cases()
    found = score(of, Locked(0.5, 3.0), NAMES, n_resamples=50, seed=0)
    scaled = apply_temperature(of.probabilities, 3.0)
    assert found.calibrated["log_loss"].value == evaluate(scaled, of.labels)["log_loss"][0]
    assert found.frequency["bad"].expected == pytest.approx(scaled[:, 1].mean())
    assert found.frequency["bad"].observed == 0.5
    assert set(found.recalibration) == {"bad"}
    assert found.best_temperature != 3.0
    assert (found.n_cases, found.n_groups, found.of_class) == (60, 30, {"good": 30, "bad": 30})
    assert score(of, Locked(0.5), NAMES, n_resamples=0, seed=0).calibrated == {}


def test_single_class_and_nonfinite_outputs_are_undefined() -> None:
    of = cases()
    alone = of.take(np.flatnonzero(of.labels == 1))
    found = score(alone, Locked(0.5, 2.0), NAMES, n_resamples=20, seed=0)
    assert np.isnan(found.metrics["auc"].value)
    assert np.isfinite([found.metrics[name].value for name in ("sensitivity", "accuracy", "brier")]).all()
    assert np.isnan(found.recalibration["bad"].slope.value)
    broken = of.probabilities.copy()
    broken[3, 0] = np.nan
    found = score(LabelledCases(of.labels, of.groups, broken), Locked(0.5, 2.0), NAMES, n_resamples=0, seed=0)
    assert (found.not_finite, found.metrics) == (1, {})


def test_single_case_and_three_classes_are_scored() -> None:
    one = cases().take(np.array([0]))
    assert score(one, Locked(0.5, 1.0), NAMES, n_resamples=20, seed=0).metrics["accuracy"].value in (0.0, 1.0)
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 30)
    of = LabelledCases(np.arange(30) % 2, tuple(map(str, range(30))), p)
    found = score(of, Locked(None, 1.0), ("a", "b", "c"), n_resamples=20, seed=0)
    assert set(found.recalibration) == {"a", "b", "c"}
    assert found.of_class["c"] == 0
    assert np.isnan(found.metrics["accuracy_c"].value)
    assert found.metrics["accuracy"].value == pytest.approx((p.argmax(1) == of.labels).mean())


def test_small_subgroups_are_counted_and_not_compared() -> None:
    of = cases(90)
    where = ["arm"] * 40 + ["leg"] * 40 + ["unknown"] * 5 + ["ear"] * 5
    scored = score_subgroups(of, {"site": where}, Locked(0.4, 1.0), NAMES, n_resamples=20, seed=0)
    found = {one.value: one for one in scored}
    assert list(found) == ["arm", "ear", "leg", "unknown"]
    assert found["arm"].classes == NAMES
    assert found["ear"].metrics == found["unknown"].metrics == {}
    assert found["ear"].n_cases == 5
    rows = of.take(np.arange(40))
    wanted = at_threshold(rows, Locked(0.4, 1.0), NAMES, n_resamples=0, seed=0)
    assert found["arm"].metrics["sensitivity"].value == wanted["sensitivity"].value
