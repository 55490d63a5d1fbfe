from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics.intervals import estimates
from mmfusion.metrics.paired_tests import compare, compare_auc, delong, holm, mcnemar

# Albumin, total protein, K-G score, and whether surgery helped, of the 43 patients who have all three (DeLong et al.,
# 1988), as SAS documents them with its procedure for comparing ROC curves; a low K-G score speaks for help.
OVARIAN = np.fromstring(
    """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1  3.8 5.7 5 1
    3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0
    4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1
    4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1
    2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
    """.replace("\n", " "),
    sep=" ",
).reshape(-1, 4)


def test_delong_matches_published_example() -> None:
    labels = OVARIAN[:, 3]
    protein, score = OVARIAN[:, 1], 10 - OVARIAN[:, 2]
    found = delong([score, protein], labels)
    np.testing.assert_allclose(found.auc, [0.7258, 0.6478], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(found.covariance)), [0.1028, 0.1000], atol=5e-5)
    difference = compare_auc(protein, score, labels)
    assert difference.mean == pytest.approx(-0.0780, abs=5e-5)
    assert (difference.low, difference.high) == pytest.approx((-0.2830, 0.1271), abs=1e-4)
    assert difference.p == pytest.approx(0.4561, abs=1e-4)


def by_pairs(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition: one number a pair of a positive and a negative."""
    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    m, n1, n0 = len(scores), positive.shape[1], negative.shape[1]
    kernel = np.zeros((m, n1, n0))
    for r, i, j in product(range(m), range(n1), range(n0)):
        a, b = positive[r, i], negative[r, j]
        kernel[r, i, j] = 1.0 if a > b else 0.5 if a == b else 0.0
    above, below = kernel.mean(2), kernel.mean(1)
    auc = kernel.mean((1, 2))
    s10 = (above - auc[:, None]) @ (above - auc[:, None]).T / (n1 - 1)
    s01 = (below - auc[:, None]) @ (below - auc[:, None]).T / (n0 - 1)
    return auc, s10 / n1 + s01 / n0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=6, max_size=25))
def test_delong_matches_definition(rows: list[tuple[int, int, bool]]) -> None:
    a, b, label = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if min(label.sum(), (1 - label).sum()) < 2:
        return
    found = delong([a, b], label)
    auc, covariance = by_pairs(np.stack([a, b]), label)
    np.testing.assert_allclose(found.auc, auc, atol=1e-12)
    np.testing.assert_allclose(found.covariance, covariance, atol=1e-12)


def scored(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % 3 == 0).astype(int)
    shared = rng.normal(size=n)
    logits = [shared + rng.normal(size=n) * 0.7 + shift * y for shift in (1.6, 1.2)]
    p = [1 / (1 + np.exp(-x)) for x in logits]
    return np.stack([1 - p[0], p[0]], 1), np.stack([1 - p[1], p[1]], 1), y


def test_delong_matches_bootstrap() -> None:
    one, other, y = scored(600, seed=0)
    exact = compare_auc(one[:, 1], other[:, 1], y)
    drawn = compare(one, other, y, n_resamples=4000)
    assert drawn.mean == pytest.approx(exact.mean, abs=1e-12)
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.25 * (exact.high - exact.mean))
    assert delong([one[:, 1]], y).covariance[0, 0] ** 0.5 == pytest.approx(estimates(one, y)["auc"].error, rel=0.1)


@pytest.mark.slow
def test_delong_matches_brute_force_bootstrap() -> None:
    """Cases drawn with replacement in each class, areas by counting pairs."""
    one, other, y = scored(150, seed=3)
    scores = np.stack([one[:, 1], other[:, 1]])
    rng = np.random.default_rng(0)
    areas = np.empty((2000, 2))
    for draw in range(len(areas)):
        positive, negative = (scores[:, rng.choice(np.flatnonzero(y == c), (y == c).sum())] for c in (1, 0))
        areas[draw] = (positive[:, :, None] > negative[:, None]).mean((1, 2))
        areas[draw] += 0.5 * (positive[:, :, None] == negative[:, None]).mean((1, 2))
    found = delong(scores, y)
    np.testing.assert_allclose(areas.mean(0), found.auc, atol=0.003)
    np.testing.assert_allclose(np.cov(areas.T), found.covariance, rtol=0.12)
    difference = areas[:, 0] - areas[:, 1]
    exact = compare_auc(*scores, y)
    assert (difference.std() / ((exact.high - exact.low) / 3.92)) == pytest.approx(1, abs=0.06)


def test_paired_interval_is_narrower_than_unpaired() -> None:
    one, other, y = scored(600, seed=1)
    paired = compare(one, other, y)
    apart = np.hypot(estimates(one, y)["auc"].error, estimates(other, y)["auc"].error)
    assert (paired.high - paired.low) / 3.92 < 0.8 * apart


def test_duplicated_patients_do_not_narrow_interval() -> None:
    one, other, y = scored(90, seed=2)
    owner = [str(i) for i in np.repeat(np.arange(90), 4)]
    repeated = [np.repeat(x, 4, axis=0) for x in (one, other, y)]
    grouped, naive = compare(*repeated, owner), compare(*repeated)
    once = compare(one, other, y)
    assert grouped.high - grouped.low == pytest.approx(once.high - once.low, rel=0.1)
    assert naive.high - naive.low < 0.7 * (once.high - once.low)


def test_equal_models_have_no_difference() -> None:
    one, _, y = scored(60, seed=3)
    assert compare_auc(one[:, 1], one[:, 1] ** 3, y) == (0.0, 0.0, 0.0, 1.0)
    same = compare(one, one, y, n_resamples=50)
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_bootstrap_p_is_at_least_two_over_resamples() -> None:
    y = np.arange(40) % 2
    good, bad = np.eye(2)[y], np.eye(2)[1 - y]
    found = compare(good, bad, y, n_resamples=99)
    assert (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.p == pytest.approx(2 / 100)


@pytest.mark.slow
def test_tests_have_nominal_level_under_null() -> None:
    """5% false positives, within what 400 draws allow."""
    rng = np.random.default_rng(0)
    found = np.zeros(2)
    for draw in range(400):
        y = (np.arange(320) % 10 < 3).astype(int)
        shared = rng.normal(size=320) + y
        a, b = (1 / (1 + np.exp(-shared - rng.normal(size=320))) for _ in range(2))
        found[0] += compare_auc(a, b, y).p < 0.05
        both = (np.stack([1 - x, x], 1) for x in (a, b))
        found[1] += compare(*both, y, n_resamples=400, seed=draw).p < 0.05
    assert (np.abs(found / 400 - 0.05) < 0.03).all()


def test_mcnemar_by_hand() -> None:
    y = np.zeros(20)
    one = np.array([0] * 10 + [1] * 10)
    other = np.array([0] * 4 + [1] * 6 + [0] * 1 + [1] * 9)
    # 6 cases right for one alone, 1 for the other alone: 2 * (C(7,0) + C(7,1)) / 2**7.
    assert mcnemar(one, other, y) == pytest.approx(2 * 8 / 128)
    assert mcnemar(one, one, y) == 1.0


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_order_and_is_at_most_bonferroni(p: list[float]) -> None:
    found = holm(p)
    assert (found >= np.array(p) - 1e-15).all()
    assert (found <= np.minimum(1, len(p) * np.array(p)) + 1e-15).all()
    assert (np.diff(found[np.argsort(p, kind="stable")]) >= 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: delong([[0.1, 0.2]], [0, 1]), "at least two cases of each class, got 1 and 1"),
        (lambda: delong([[0.1, np.nan]], [0, 1]), "finite scores"),
        (lambda: delong([[0.1, 0.2]], [0, 2]), "labels .* of 0 and 1"),
        (lambda: delong([0.1, 0.2], [0, 1]), r"got \(2,\) and \(2,\)"),
        (lambda: compare(np.eye(2), np.eye(2), [0, 1], metric="area"), "no metric 'area'; there are: auc"),
        (lambda: holm([0.1, 1.2]), "expects probabilities"),
    ],
)
def test_invalid_inputs_raise(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()), min_size=4, max_size=8))
def test_auc_difference_interval_is_in_range(rows: list[tuple[int, int, bool]]) -> None:
    a, b, label = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if min(label.sum(), (1 - label).sum()) < 2:
        return
    found = compare_auc(a, b, label, level=0.999)
    assert -1 <= found.low <= found.mean <= found.high <= 1


def test_single_class_labels_give_no_comparison() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(2), 8)
    for metric in ("auc", "average_precision", "f1_macro", "mcc"):
        assert np.isnan(compare(p, p[::-1], np.ones(8, dtype=int), metric=metric, n_resamples=20)).all()
