import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics.conformal import calibration_scores, limits, prediction_sets, set_coverage


def cases(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y = (rng.random(n) < 0.3).astype(int) + (rng.random(n) < 0.1)
    p = rng.dirichlet(np.ones(3), n) + 0.6 * np.eye(3)[y]
    return p / p.sum(1, keepdims=True), y


def test_limits_are_order_statistics() -> None:
    scores = (tuple(np.arange(1, 10) / 10), tuple(np.arange(1, 20) / 20), ())
    # Of 9 the ninth, of 19 the eighteenth, of none nothing is excluded.
    assert limits(scores, 0.9).tolist() == [0.9, 0.9, np.inf]
    assert limits((tuple(np.arange(1, 9) / 10),), 0.9).tolist() == [np.inf]
    assert limits(scores, 0.5).tolist() == [0.5, 0.5, np.inf]
    for wrong in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="coverage expects a share above 0 and below 1"):
            limits(scores, wrong)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_calibration_cases_give_full_sets(n: int) -> None:
    p, y = cases(n, np.random.default_rng(0))
    sets = prediction_sets(cases(20, np.random.default_rng(1))[0], calibration_scores(p, y), 0.9)
    assert sets.shape == (20, 3)
    assert sets.all()


@given(st.integers(0, 60), st.integers(1, 99), st.integers(0, 2**16))
def test_sets_grow_with_coverage(n: int, percent: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = cases(n, rng)
    new, _ = cases(5, rng)
    scores = calibration_scores(p, y)
    sets = prediction_sets(new, scores, percent / 100)
    assert sets.shape == (5, 3)
    # More coverage never takes a class out.
    assert (sets <= prediction_sets(new, scores, min(0.995, percent / 100 + 0.2))).all()


def test_class_conditional_coverage_holds() -> None:
    rng, hit = np.random.default_rng(0), np.zeros(3)
    marginal = []
    for _ in range(200):
        p, y = cases(300, rng)
        sets = prediction_sets(p, calibration_scores(*cases(150, rng)), 0.8)
        covered = set_coverage(sets, y, [str(i) for i in range(300)], ("a", "b", "c"))
        marginal.append(covered.coverage[0])
        hit += [covered.of_class[name][0] for name in ("a", "b", "c")]
    # At least the promise, and not much more: 1 / (n + 1) of each class.
    assert (hit / 200 >= 0.79).all()
    assert (hit / 200 <= 0.90).all()
    assert 0.79 <= np.mean(marginal) <= 0.83


def test_set_statistics_by_hand() -> None:
    sets = np.array([[True, False], [True, True], [False, False], [True, False]])
    found = set_coverage(sets, np.array([0, 1, 0, 1]), ["a", "a", "b", "c"], ("good", "bad"))
    assert found.coverage[0] == 0.5
    assert found.of_class["good"][0] == found.of_class["bad"][0] == 0.5
    assert (found.mean_size, found.single, found.empty, found.right) == (1.0, 0.5, 0.25, 0.5)
    assert found.to_dict()["of_class"]["good"]["value"] == 0.5
    nothing = set_coverage(np.ones((2, 2), dtype=bool), np.array([0, 0]), ["a", "b"], ("good", "bad"))
    assert nothing.to_dict()["right"] is None
    assert set(nothing.of_class) == {"good"}
