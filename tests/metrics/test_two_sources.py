import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics.two_sources import case_variances, resampled_error, two_source_error


def test_error_by_hand() -> None:
    """d = 0.01, 0.02, 0.03, 0.04, 0.05: s^2 = 2.5e-4. V = 1e-4, mean V_s = 1.4e-4, 100 groups."""
    found = two_source_error([0.01, 0.02, 0.03, 0.04, 0.05], 1e-4, 1.4e-4, 99)
    square = 1e-4 + 5e-5 - 1e-5
    assert found.error == pytest.approx(square**0.5)
    assert found.degrees == pytest.approx(square**2 / (1e-8 / 99 + 25e-10 / 4))
    assert found.cases == pytest.approx(0.01)


def test_one_run_has_case_variance_only() -> None:
    found = two_source_error([0.9], 4e-4, 4e-4, 49)
    assert (float(found.error), float(found.degrees)) == pytest.approx((0.02, 49))


def test_error_is_at_least_case_error() -> None:
    found = two_source_error([0.5, 0.5, 0.5], 1e-4, 9e-4, 99)
    assert found.error == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("values", "variance", "degrees"), [([0.1, np.nan], 1e-4, 9), ([0.1, 0.2], np.nan, 9), ([0.1, 0.2], 1e-4, 0)]
)
def test_unknown_variance_gives_nan(values: list[float], variance: float, degrees: float) -> None:
    assert np.isnan(two_source_error(values, variance, variance, degrees)).all()


def test_identical_runs_have_no_error() -> None:
    found = two_source_error([0.0, 0.0], 0.0, 0.0, 9)
    assert (float(found.error), float(found.degrees)) == (0.0, 9.0)


def test_invalid_arguments_raise() -> None:
    with pytest.raises(ValueError, match="at least one run"):
        two_source_error(np.empty((0,)), 0.1, 0.1, 9)
    with pytest.raises(ValueError, match="not negative"):
        two_source_error([0.1], -0.1, 0.1, 9)


@given(st.integers(2, 6), st.integers(0, 100))
def test_batched_inputs_match_single_inputs(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, v = rng.normal(size=(n, 3)), rng.random(3)
    together = two_source_error(values, v, 2 * v, 30)
    for place in range(3):
        alone = two_source_error(values[:, place], v[place], 2 * v[place], 30)
        np.testing.assert_allclose([part[place] for part in together], alone)


def test_variance_components_are_recovered() -> None:
    """Mean of 5 runs with case noise 0.02 in common, 0.03 of each run, and training noise 0.04."""
    rng = np.random.default_rng(0)
    squares = []
    for _ in range(400):
        common, own = 0.02 * rng.normal(size=401), 0.03 * rng.normal(size=(5, 401))
        # The first column is what happened, the others are what the bootstrap would draw.
        values = common[0] + own[:, 0] + 0.04 * rng.normal(size=5)
        squares.append(resampled_error(values, common[1:] + own[:, 1:], 10_000).error ** 2)
    assert np.mean(squares) == pytest.approx(0.02**2 + 0.03**2 / 5 + 0.04**2 / 5, rel=0.05)


def test_case_variances_need_most_resamples_defined() -> None:
    drawn = np.array([[1.0, 2.0, np.nan, 4.0], [2.0, 2.0, 2.0, np.nan]])
    of_mean, of_single = case_variances(drawn)
    assert of_mean == pytest.approx(np.var([1.5, 2.0], ddof=1))
    assert of_single == pytest.approx((0.5 + 0.0) / 2)
    assert np.isnan(case_variances(drawn[:, 1:])).all()


def test_degrees_of_freedom_are_at_least_one() -> None:
    """Runs that differ far less than their own case noise suggests: the remaining variance is nearly zero."""
    found = two_source_error([0.0, 0.02, 0.0, 0.02, 0.0], 1e-6, 1.2e-4, 99)
    assert found.degrees == 1
    assert 1e-3 <= found.error < 5e-3
