import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import t

from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import NAMES
from mmfusion.metrics.few_positives import newcombe, wilson
from mmfusion.metrics.score_intervals import scale_interval, score_interval

CASES = TestCases.of(np.arange(200) % 2, None, 2)
FEW = TestCases.of(np.arange(100) < 10, None, 2)


def drawn(values: list[float], sd: float, r: int = 400) -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=r)
    return np.array(values)[:, None] + sd * (noise - noise.mean()) / noise.std(ddof=1)


def test_one_run_matches_t_interval_on_logit_scale() -> None:
    found = score_interval("accuracy", [0.9], drawn([0.9], 0.02), CASES)
    reach = t.ppf(0.975, 199) * 0.02 / 0.09
    assert (found.low, found.high) == pytest.approx(tuple(expit(logit(0.9) + np.array([-reach, reach]))))
    assert (found.kind, found.error, found.reason) == ("logit", pytest.approx(0.02), "")


def test_variance_between_runs_widens_interval() -> None:
    values = [0.88, 0.9, 0.92, 0.9, 0.9]
    found = score_interval("accuracy", values, drawn(values, 0.01), CASES)
    assert found.error**2 == pytest.approx(0.01**2 + np.var(values, ddof=1) / 5)


def test_scale_interval_of_other_ranges() -> None:
    low, high = scale_interval(0.5, 0.1, 1e9, (-1.0, 1.0), level=0.95)
    # Half the range of twice the width: Fisher's transformation.
    assert (low, high) == pytest.approx(tuple(np.tanh(np.arctanh(0.5) + 1.959964 * 0.1 / 0.75 * np.array([-1, 1]))))
    low, high = scale_interval(2.0, 0.5, 1e9, (0.0, math.inf), level=0.95)
    assert (low, high) == pytest.approx((2 * np.exp(-0.489991), 2 * np.exp(0.489991)))


@given(st.sampled_from(NAMES), st.floats(0, 1), st.floats(1e-9, 3), st.integers(1, 6), st.sampled_from([CASES, FEW]))
def test_interval_contains_value_and_is_in_range(name: str, value: float, sd: float, n: int, cases: TestCases) -> None:
    found = score_interval(name, [value] * n, drawn([value] * n, sd), cases)
    assert math.isnan(found.low) is math.isnan(found.high) is (found.kind == "") is (found.reason != "")
    if found.kind:
        # A mean of equal numbers may be rounded.
        assert 0 - (name == "mcc") <= found.low <= value + 1e-12
        assert value - 1e-12 <= found.high <= (math.inf if name == "log_loss" else 1)


@pytest.mark.parametrize(("metric", "n"), [("accuracy", 200), ("accuracy_1", 100), ("sensitivity", 100)])
def test_perfect_share_gets_wilson_interval(metric: str, n: int) -> None:
    found = score_interval(metric, [1.0], drawn([1.0], 0.0), CASES)
    assert (found.low, found.high) == pytest.approx(wilson(1.0, n))


def test_recall_of_few_cases_gets_wilson_interval() -> None:
    found = score_interval("sensitivity", [0.8], drawn([0.8], np.sqrt(0.16 / 10)), FEW)
    # A bootstrap of ten has nine tenths of the variance, which is put right.
    assert (found.low, found.high) == pytest.approx(wilson(0.8, 9))
    surer = score_interval("sensitivity", [0.8], drawn([0.8], 0.01), FEW)
    assert (surer.low, surer.high) == pytest.approx(wilson(0.8, 10))
    assert score_interval("specificity", [0.8], drawn([0.8], 0.01), FEW).kind == "logit"


def test_accuracy_of_few_groups_is_not_narrower() -> None:
    """Patients of two images, one right and one wrong: the share does not vary over patients."""
    few = TestCases.of(np.arange(18) // 2 % 2, [str(i // 2) for i in range(18)], 2)
    found = score_interval("accuracy", [0.5], drawn([0.5], 1e-4), few)
    reach = t.ppf(0.975, 8) * np.sqrt(0.25 / 18) / 0.25
    assert (found.low, found.high) == pytest.approx(tuple(expit(np.array([-reach, reach]))))
    wider = score_interval("accuracy", [0.5], drawn([0.5], 0.2), few)
    assert wider.error == pytest.approx(0.2)
    assert score_interval("accuracy", [0.5], drawn([0.5], 1e-4), CASES).error == pytest.approx(1e-4)


@pytest.mark.parametrize("auc", [0.0, 1.0])
def test_auc_of_one_gets_newcombe_interval(auc: float) -> None:
    y = np.arange(100) < 10
    p1 = np.where(y == bool(auc), 0.9, 0.1)
    found = score_interval("auc", [auc], drawn([auc], 0.0), FEW, [np.stack([1 - p1, p1], 1)])
    assert (found.low, found.high) == pytest.approx(newcombe(auc, 10, 90))
    assert found.low < found.high


def test_average_precision_interval_is_bias_corrected() -> None:
    replicates = drawn([0.6], 0.05) + 0.03
    found = score_interval("average_precision", [0.6], replicates, CASES)
    assert logit(found.low) + logit(found.high) == pytest.approx(2 * logit(0.57))
    assert found.low < 0.6 < found.high


@pytest.mark.parametrize(
    ("metric", "value", "sd", "cases", "reason"),
    [
        ("ece", 0.02, 0.01, CASES, "covers what it should"),
        ("g_mean", 0.8, 0.1, FEW, "fewer than 50 cases"),
        ("mcc", 1.0, 0.0, CASES, "cannot vary"),
        ("f1_macro", 1.0, 0.1, CASES, "end of its range"),
        ("accuracy", 0.9, 0.1, TestCases.of([0, 1], ["a", "a"], 2), "one group"),
        ("mcc", 0.2, 0.1, FEW, "fewer than 50 cases"),
        ("average_precision", 0.2, 0.1, TestCases.of([0, 1, 1], None, 2), "single case or group"),
    ],
)
def test_undefined_interval_has_reason(metric: str, value: float, sd: float, cases: TestCases, reason: str) -> None:
    found = score_interval(metric, [value], drawn([value], sd), cases)
    assert math.isnan(found.low)
    assert reason in found.reason


def test_undefined_value_has_no_reason() -> None:
    assert score_interval("auc", [0.5, math.nan], None, CASES).reason == ""
    assert score_interval("accuracy", [0.5], None, CASES).reason == "no resamples were drawn"
    lost = np.where(np.arange(400) < 250, np.nan, drawn([0.5], 0.1))
    assert score_interval("accuracy", [0.5], lost, CASES).reason == "most resamples leave it undefined"
