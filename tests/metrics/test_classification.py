import re
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from mmfusion.metrics import classification
from mmfusion.metrics.classification import best_threshold, calibration, evaluate, metric_set, ranks, reported


def case(n: int, k: int, seed: int, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and integer weights; decimals make ties."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(k), rng.integers(k, size=n - k)])
    logits = rng.normal(size=(n, k))
    logits[np.arange(n), y] += 1
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if decimals is not None and k == 2:
        p1 = p[:, 1].round(decimals)
        p = np.stack([1 - p1, p1], axis=1)
    # Every class keeps some weight, or scikit-learn has nothing to say.
    w = rng.integers(0, 4, size=n)
    w[:k] = 2
    return p, y, w


def reference(p: np.ndarray, y: np.ndarray, w: np.ndarray, threshold: float) -> dict[str, float]:
    """The same by scikit-learn, one weighting."""
    k = p.shape[1]
    called = p.argmax(axis=1)
    one_hot = np.eye(k)[y]
    truth, scores = (y, p[:, 1]) if k == 2 else (one_hot, p)
    recalls = sk.recall_score(y, called, average=None, sample_weight=w, labels=range(k))
    if k == 2:
        at = p[:, 1] >= threshold
        sensitivity, specificity = (sk.recall_score(y, at, pos_label=c, sample_weight=w) for c in (1, 0))
        g_mean = np.sqrt(sensitivity * specificity)
    else:
        sensitivity = recalls.mean()
        each = np.array([sk.recall_score(y != c, called != c, sample_weight=w) for c in range(k)])
        specificity, g_mean = each.mean(), np.sqrt(each * recalls).mean()
    return {
        "auc": sk.roc_auc_score(truth, scores, average="macro", sample_weight=w),
        "average_precision": sk.average_precision_score(truth, scores, average="macro", sample_weight=w),
        "accuracy": sk.accuracy_score(y, called, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called, sample_weight=w),
        "f1_macro": sk.f1_score(y, called, average="macro", sample_weight=w),
        "f1_weighted": sk.f1_score(y, called, average="weighted", sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, called, sample_weight=w),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "g_mean": g_mean,
        "brier": sk.brier_score_loss(y, p[:, 1], sample_weight=w)
        if k == 2
        else np.average(((p - one_hot) ** 2).sum(axis=1), weights=w),
        "log_loss": sk.log_loss(y, p, sample_weight=w, labels=range(k)),
    } | {f"accuracy_{c}": recall for c, recall in enumerate(recalls)}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("k", "decimals"), [(2, None), (2, 1), (3, None), (7, None)])
def test_metrics_match_sklearn(k: int, decimals: int | None, weighted: bool) -> None:
    p, y, w = case(120, k, seed=k, decimals=decimals)
    if not weighted:
        w = np.ones(120)
    found = evaluate(p, y, w[None] if weighted else None, threshold=0.4)
    wanted = reference(p, y, w, 0.4)
    assert set(found) == set(wanted) | {"ece"}
    for name, value in wanted.items():
        assert found[name].shape == (1,)
        assert found[name][0] == pytest.approx(value, abs=1e-12), name


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(2, 4), st.integers(8, 40), st.integers(0, 10**6))
def test_weight_of_two_equals_duplicated_case(k: int, n: int, seed: int) -> None:
    p, y, w = case(n, k, seed, decimals=1)
    repeated = np.repeat(np.arange(n), w)
    weighted, copied = evaluate(p, y, w[None]), evaluate(p[repeated], y[repeated])
    for name, value in weighted.items():
        np.testing.assert_allclose(value, copied[name], atol=1e-12, err_msg=name)


def test_batched_weights_match_single_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    p, y, _ = case(30, 3, seed=1)
    w = np.random.default_rng(0).integers(0, 3, size=(11, 30))
    monkeypatch.setattr(classification, "BLOCK", 60)
    found = evaluate(p, y, w)
    for row in range(11):
        for name, value in evaluate(p, y, w[row : row + 1]).items():
            np.testing.assert_allclose(found[name][row], value[0], atol=1e-12, err_msg=name)


def test_auc_by_hand_with_ties() -> None:
    # Pairs (positive, negative): 0.8>0.3, 0.8>0.5, 0.5>0.3, and 0.5 against 0.5, which counts a half.
    p1 = np.array([0.8, 0.5, 0.3, 0.5])
    assert evaluate(np.stack([1 - p1, p1], axis=1), [1, 1, 0, 0])["auc"][0] == 3.5 / 4


def test_equal_scores_give_chance() -> None:
    found = evaluate(np.full((6, 2), 0.5), [0, 0, 0, 0, 1, 1])
    assert found["auc"][0] == 0.5
    assert found["average_precision"][0] == pytest.approx(2 / 6)


def test_calibration_by_hand() -> None:
    p1 = np.array([0.9, 0.9, 0.2, 0.6])
    found = evaluate(np.stack([1 - p1, p1], axis=1), [1, 0, 0, 1])
    # Confidences 0.9 (twice, one right): a gap of 0.4 with a standard error of 0.5; 0.8 and 0.6 are alone.
    assert found["ece"][0] == pytest.approx(2 * (0.4 - 2 * 0.5 * NormalDist().pdf(0.8)) / 4)
    assert found["brier"][0] == pytest.approx((0.01 + 0.81 + 0.04 + 0.16) / 4)


def test_log_loss_of_wrong_certainty_is_finite() -> None:
    assert 30 < evaluate([[1.0, 0.0], [0.0, 1.0]], [1, 1])["log_loss"][0] * 2 < 40


def test_single_class_labels_give_undefined_metrics() -> None:
    found = evaluate([[0.2, 0.8], [0.6, 0.4]], [1, 1], extra=["average_precision_called"])
    defined = {name: value[0] for name, value in found.items() if not np.isnan(value[0])}
    assert set(defined) == {"accuracy", "accuracy_1", "sensitivity", "brier", "ece", "log_loss"}
    assert (defined["accuracy"], defined["accuracy_1"], defined["sensitivity"]) == (0.5, 0.5, 0.5)
    assert reported(found["auc"][0]) is None


@pytest.mark.parametrize("only", [0, 2])
def test_single_class_of_three_leaves_class_free_metrics(only: int) -> None:
    """Also for perfect predictions: a perfect score on one class is not reported as one on three."""
    found = evaluate(np.eye(3)[[only] * 4] * 0.7 + 0.1, [only] * 4)
    defined = {name for name, value in found.items() if not np.isnan(value[0])}
    assert defined == {"accuracy", f"accuracy_{only}", "brier", "ece", "log_loss"}


def test_absent_class_is_excluded_from_means() -> None:
    """Predictions of that class are wrong, but neither its F1 of 0 nor its specificity near 1 is in a mean."""
    p, y, _ = case(40, 3, seed=3)
    found = evaluate(p, y, np.where(y == 2, 0, 1)[None])
    kept = y != 2
    p, y = p[kept], y[kept]
    called = p.argmax(axis=1)
    assert (called == 2).any()

    def mean(score: Callable[..., float]) -> float:
        return float(np.mean([score(c) for c in (0, 1)]))

    recall = [sk.recall_score(y, called, labels=[c], average=None)[0] for c in (0, 1)]
    specificity = [sk.recall_score(y != c, called != c) for c in (0, 1)]
    wanted = {
        "auc": mean(lambda c: sk.roc_auc_score(y == c, p[:, c])),
        "average_precision": mean(lambda c: sk.average_precision_score(y == c, p[:, c])),
        "f1_macro": mean(lambda c: sk.f1_score(y == c, called == c)),
        "f1_weighted": sk.f1_score(y, called, average="weighted"),
        "balanced_accuracy": np.mean(recall),
        "sensitivity": np.mean(recall),
        "specificity": np.mean(specificity),
        "g_mean": np.mean(np.sqrt(np.multiply(recall, specificity))),
        "mcc": sk.matthews_corrcoef(y, called),
        "accuracy_2": np.nan,
    }
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name][0], value, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("k", [2, 3])
def test_constant_prediction_has_mcc_zero(k: int) -> None:
    """Not undefined: it would drop out of the mean over runs and raise it."""
    found = evaluate(np.eye(k)[np.zeros(2 * k, dtype=int)], np.arange(2 * k) % k)
    assert found["mcc"][0] == 0
    assert found["f1_macro"][0] == pytest.approx(2 / (1 + k) / k)


def test_all_zero_weights_are_undefined() -> None:
    p, y, _ = case(10, 3, seed=4)
    assert all(np.isnan(value[0]) for value in evaluate(p, y, np.zeros((1, 10))).values())


def test_metric_names_use_class_names() -> None:
    found = evaluate([[0.2, 0.8], [0.6, 0.4]], [1, 0], names=("nevus", "melanoma"))
    assert found["accuracy_nevus"][0] == 1
    assert "accuracy_0" not in found


@pytest.mark.slow
def test_best_threshold_maximizes_g_mean() -> None:
    p, y, _ = case(200, 2, seed=5)
    t = best_threshold(p, y)
    best = evaluate(p, y, threshold=t)["g_mean"][0]
    others = [evaluate(p, y, threshold=other)["g_mean"][0] for other in np.linspace(0, 1, 101)]
    assert best >= max(others)


def test_best_threshold_is_midpoint_of_scores() -> None:
    p1 = np.array([0.1, 0.2, 0.4, 0.9])
    assert best_threshold(np.stack([1 - p1, p1], axis=1), [0, 0, 1, 1]) == pytest.approx(0.3)
    assert best_threshold([[0.5, 0.5]], [1]) == 0.5


@pytest.mark.parametrize(
    ("p", "y", "w", "message"),
    [
        ([[0.5, 0.5]], [0, 1], None, r"got \(1, 2\) and \(2,\)"),
        ([[1.0]], [0], None, "2 classes"),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), None, "at least 1 case"),
        ([[np.nan, 0.5]], [0], None, "finite"),
        ([[0.5, 0.5]], [2], None, r"in \[0, 2\), got 2"),
        ([[0.5, 0.5]], [-1], None, "got -1"),
        ([[0.5, 0.5]], [0], [[1, 1]], r"shape \(r, 1\)"),
        ([[0.5, 0.5]], [0], [1], r"shape \(r, 1\)"),
    ],
)
def test_invalid_inputs_raise(p: object, y: object, w: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(p, y, w)


def test_average_precision_called_matches_sklearn() -> None:
    p, y, w = case(60, 2, seed=3)
    assert "average_precision_called" not in evaluate(p, y)
    found = evaluate(p, y, np.stack([np.ones(60), w]), extra=["average_precision_called"])["average_precision_called"]
    called = p.argmax(axis=1)
    assert found == pytest.approx([sk.average_precision_score(y, called, sample_weight=one) for one in (None, w)])
    assert found[0] != pytest.approx(sk.average_precision_score(y, p[:, 1]))


@pytest.mark.parametrize(
    ("k", "extra", "message"),
    [
        (2, "auprc", "unknown extra metric 'auprc'; expected one of: average_precision_called"),
        (3, "average_precision_called", "is defined for two classes, the probabilities are of 3"),
    ],
)
def test_invalid_extra_metrics_raise(k: int, extra: str, message: str) -> None:
    p, y, _ = case(20, k, seed=0)
    with pytest.raises(ValueError, match=message):
        evaluate(p, y, extra=[extra])


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("auc", ""),
        ("auc + accuracy_2+average_precision_called", ""),
        ("brier", ""),
        ("auc+acuracy", "expects one of auc, .*, or several with . between, got 'acuracy'"),
        ("accuracy_NEV", "got 'accuracy_NEV'"),
        ("auc+", "got ''"),
        ("auc+brier", "only of those where more is better, got 'brier' in 'auc.brier'"),
    ],
)
def test_mean_of_metrics_is_validated(metric: str, message: str) -> None:
    found = classification.metric_faults(metric)
    assert re.search(message, found) if message else not found


def test_metric_sets_name_evaluated_metrics() -> None:
    known = evaluate([[0.3, 0.7], [0.6, 0.4]], [1, 0], names=("NEV", "MEL"))
    assert set(metric_set("derm7pt", ("NEV", "MEL"))) < set(known)
    assert metric_set("men", ("I", "II", "III")) == (
        "accuracy",
        "accuracy_I",
        "accuracy_II",
        "accuracy_III",
        "f1_weighted",
        "f1_macro",
        "auc",
    )
    assert set(metric_set("men", ("NEV", "MEL"))) < set(known)
    with pytest.raises(ValueError, match="unknown set of metrics 'mnist'; expected one of: derm7pt, men"):
        metric_set("mnist", ())


def test_subset_of_metrics_matches_full_evaluation() -> None:
    rng = np.random.default_rng(0)
    p, y, w = rng.dirichlet([1, 1, 1], 20), np.arange(20) % 3, rng.integers(0, 3, (5, 20))
    whole = evaluate(p, y, w)
    for part in (ranks(p, y, w), calibration(p, y, w)):
        for name, values in part.items():
            assert np.array_equal(values, whole[name])
    assert set(ranks(p, y)) == {"auc", "average_precision"}
    assert set(calibration(p, y)) == {"brier", "ece", "log_loss"}
    with pytest.raises(ValueError, match="weights expect shape"):
        ranks(p, y, w[:, 1:])
