import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfusion.metrics.classification import EXTRA, LOWER_IS_BETTER, NAMES, evaluate
from mmfusion.metrics.definitions import (
    MEANS_OF_CLASSES,
    difference_range,
    keeping_classes,
    keeps_classes,
    metric_range,
    undefined,
    undefined_sentence,
    without_cases,
)


@st.composite
def predicted(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities with zeros, ones and ties, labels that need not have every class, and weights that may all be 0."""
    k = draw(st.integers(2, 4))
    n = draw(st.integers(1, 8))
    scores = draw(st.lists(st.lists(st.integers(0, 3), min_size=k, max_size=k).filter(any), min_size=n, max_size=n))
    p = np.array(scores, dtype=float)
    labels = draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n))
    weights = draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    return p / p.sum(axis=1, keepdims=True), np.array(labels), np.array(weights)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(predicted())
def test_metrics_are_in_range_or_undefined(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    p, y, w = case
    k = p.shape[1]
    extra = EXTRA if k == 2 else ()
    for name, (value,) in evaluate(p, y, w[None], extra=extra).items():
        low, high = metric_range(name, k)
        assert np.isnan(value) or low <= value <= high, (name, value)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(predicted())
def test_undefined_metrics_depend_on_labels_only(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    p, y, w = case
    k = p.shape[1]
    found = {name for name, (value,) in evaluate(p, y).items() if np.isnan(value)}
    assert found == set(undefined(y, k))
    present = set(y.tolist())
    assert {f"accuracy_{c}" for c in range(k)} & found == {f"accuracy_{c}" for c in range(k) if c not in present}
    if len(present) > 1:
        assert not found & set(NAMES)
    # A case without weight is no case.
    weighted = {name for name, (value,) in evaluate(p, y, w[None]).items() if np.isnan(value)}
    assert weighted == (set(undefined(y[w > 0], k)) if w.any() else {*NAMES, *(f"accuracy_{c}" for c in range(k))})


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(predicted())
def test_single_class_metrics_equal_accuracy_or_error(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    """With one class, what remains is never better than the share of correct cases, or an error."""
    p, y, _ = case
    found = evaluate(p, np.full_like(y, y[0]))
    right = (p.argmax(axis=1) == y[0]).mean()
    defined = {name: value[0] for name, value in found.items() if not np.isnan(value[0])}
    left = set(defined) - {*LOWER_IS_BETTER, "sensitivity", "specificity"}
    assert all(defined[name] == pytest.approx(right) for name in left)


def test_undefined_uses_class_names_and_extras() -> None:
    found = undefined([0, 0], 2, names=("good", "bad"), extra=EXTRA)
    assert {"auc", "average_precision_called", "accuracy_bad"} <= set(found)
    assert "accuracy_good" not in found
    assert without_cases([0, 0], ("good", "bad")) == ["bad"]
    assert without_cases([2, 0, 0], ("a", "b", "c", "d")) == ["b", "d"]


def test_undefined_sentence_names_classes_and_metrics() -> None:
    assert undefined_sentence(["bad"], ["auc", "mcc"], "The test set") == (
        "The test set has no cases of 'bad': undefined there are auc, mcc."
    )
    assert undefined_sentence(["c"], ["accuracy_c"], "Fold 1").endswith("accuracy_c; means over classes leave it out.")
    assert undefined_sentence(["b", "c"], ["accuracy_b", "accuracy_c"], "Fold 1").endswith(
        "means over classes leave them out."
    )


def test_difference_range_values() -> None:
    assert difference_range("auc", 2) == (-1, 1)
    assert difference_range("mcc", 2) == (-2, 2)
    assert difference_range("brier", 2) == (-1, 1)
    assert difference_range("brier", 7) == (-2, 2)
    assert difference_range("log_loss", 2) == (-np.inf, np.inf)


def test_resample_without_a_class_has_no_class_mean() -> None:
    y = np.array([0, 0, 1, 2])
    w = np.array([[1, 1, 1, 1], [2, 0, 2, 0], [0, 0, 3, 1]])
    assert keeps_classes(y, w).tolist() == [True, False, False]
    p = np.random.default_rng(0).dirichlet(np.ones(3), 4)
    whole, kept = evaluate(p, y, w), keeping_classes(evaluate(p, y, w), y, w)
    for name, values in whole.items():
        wanted = np.where([True, False, False], values, np.nan) if name in MEANS_OF_CLASSES else values
        np.testing.assert_array_equal(kept[name], wanted)
    # Classes that the cases never had are not missed.
    assert keeps_classes(y[:3], w[:1, :3]).all()
