import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import t

from mmfusion.comparison.analysis.resampling import Drawn
from mmfusion.comparison.analysis.scoring import Observed, mean_score
from mmfusion.metrics.cases import TestCases

CASES = TestCases.of(np.arange(200) % 2, None, 2)
NOISE = np.linspace(-0.03, 0.03, 101)


def run(value: float, noise: np.ndarray = NOISE, test_set: str = "a") -> Observed:
    return Observed(Drawn(value, value + noise), CASES, np.full((200, 2), 0.5), test_set)


def test_mean_over_seeds_combines_both_error_sources() -> None:
    values = [0.7, 0.8, 0.75, 0.72, 0.78]
    result = mean_score("accuracy", [run(value) for value in values], 0.95, None)
    assert result.mean == pytest.approx(0.75)
    assert result.error**2 == pytest.approx(NOISE.var(ddof=1) + np.var(values, ddof=1) / 5)
    assert result.low < result.mean < result.high
    # Cases that move the runs against each other leave the runs' own difference alone, which counts them already.
    against = mean_score("accuracy", [run(0.7), run(0.8, -NOISE)], 0.95, None)
    assert against.error**2 == pytest.approx(max(0.0, 0.0025 - NOISE.var(ddof=1)))


def test_undefined_values_are_ignored() -> None:
    result = mean_score("accuracy", [run(0.6), run(np.nan)], 0.9, None)
    assert result.mean == pytest.approx(0.6)
    assert result.error == pytest.approx(NOISE.std(ddof=1))
    assert np.isnan(mean_score("accuracy", [run(np.nan)], 0.9, None).mean)


def test_fold_error_is_corrected_for_overlap() -> None:
    values = [0.7, 0.8, 0.75]
    result = mean_score("accuracy", [run(v, test_set=str(i)) for i, v in enumerate(values)], 0.95, (100.0, 50.0))
    error = np.sqrt((1 / 3 + 0.5) * np.var(values, ddof=1))
    reach = t.ppf(0.975, 2) * error / (0.75 * 0.25)
    assert result.error == pytest.approx(error)
    assert (result.low, result.high) == pytest.approx(tuple(expit(logit(0.75) + np.array([-reach, reach]))))


@pytest.mark.parametrize(
    ("n", "sizes", "reason"), [(2, (100.0, 50.0), "2 folds are too few"), (3, None, "no run recorded")]
)
def test_folds_without_interval_have_reason(n: int, sizes: tuple[float, float] | None, reason: str) -> None:
    result = mean_score("accuracy", [run(0.7 + 0.01 * i, test_set=str(i)) for i in range(n)], 0.95, sizes)
    assert np.isnan(result.low)
    assert reason in result.reason
