"""Learners of the reference rows, fitted to arrays."""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB

from mmfusion.experiments import reference_learners, tabpfn_model
from mmfusion.experiments.reference_features import Layout
from mmfusion.experiments.reference_learners import LEARNERS, fit_and_predict, log_score, splits
from mmfusion.metrics.ranking import Floats

LAYOUT = Layout(numbers=1, cardinalities=(3,), embedded=4, images=1)
N = 60
LABELS = np.arange(N) % 2


class Fake(GaussianNB):  # type: ignore[misc]  # scikit-learn has no types
    """TabPFN's interface; missing values count as 0."""

    made: Mapping[str, Any] = {}

    def __init__(self, **options: Any) -> None:
        super().__init__()
        type(self).made = options

    def fit(self, x: Floats, y: Any) -> "Fake":
        super().fit(np.nan_to_num(x), y)
        return self

    def predict_proba(self, x: Floats) -> Floats:
        found: Floats = super().predict_proba(np.nan_to_num(x))
        return found


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    module = ModuleType("tabpfn")
    monkeypatch.setattr(module, "TabPFNClassifier", Fake, raising=False)
    monkeypatch.setitem(sys.modules, "tabpfn", module)
    for name in tabpfn_model.SETTINGS:
        monkeypatch.setenv(name, "")  # so that it is not set afterwards
        monkeypatch.delenv(name)
    return Fake


@pytest.fixture(autouse=True)
def _two_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_learners, "FOLDS", 2)


def cases(seed: int, signal: str = "embeddings") -> Floats:
    """Cases in which one kind of column tells the class; cells are missing, and every seventh case has no image."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(N, 7))
    x[:, 1] = generator.integers(0, 3, N)
    x[:, 6] = 1
    told = 3.0 * LABELS
    if signal == "numbers":
        x[:, 0] += told
    if signal == "categories":
        x[:, 1] = LABELS
    if signal == "embeddings":
        x[:, 2:6] += told[:, None]
    if signal == "images":
        x[LABELS == 1, 6] = 0
        x[LABELS == 1, 2:6] = np.nan
    else:
        x[::7, 6] = 0
        x[::7, 2:6] = np.nan
    x[3::11, 0] = np.nan
    x[5::13, 1] = np.nan
    return x


@pytest.mark.parametrize("name", list(LEARNERS))
@pytest.mark.parametrize("signal", ["numbers", "categories", "embeddings", "images"])
def test_learners_use_every_kind_of_column(name: str, signal: str, stand_in: type[Fake]) -> None:
    if name == "LightGBM":
        pytest.importorskip("lightgbm")
    folds = splits(LABELS, [str(i) for i in range(N)], seed=0)
    x = cases(0, signal)
    p = fit_and_predict(LEARNERS[name](LAYOUT, folds, seed=0), x, LABELS, {"same": x}, 3)["same"]
    assert p.shape == (N, 3)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p[:, 2] == 0).all()  # a class that training lacks
    assert (p.argmax(1) == LABELS).mean() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic regression", "gradient boosting"])
def test_prediction_is_independent_of_other_cases(name: str) -> None:
    """Nothing is fitted to the predicted cases: each has the same prediction alone as among others."""
    folds = splits(LABELS, [str(i) for i in range(N)], seed=0)
    train, other = cases(0), 5 + 3 * cases(1)
    learner = LEARNERS[name](LAYOUT, folds, seed=0)
    whole = fit_and_predict(learner, train, LABELS, {"other": other}, 2)["other"]
    again = LEARNERS[name](LAYOUT, folds, seed=0)
    alone = fit_and_predict(again, train, LABELS, {str(i): other[[i]] for i in range(3)}, 2)
    np.testing.assert_allclose(np.concatenate(list(alone.values())), whole[:3], atol=1e-12)


def test_scaling_is_fitted_in_each_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The held-out cases of a fold never reach the imputation, the scaling or the components."""
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    seen: list[int] = []

    class Scaler(StandardScaler):  # type: ignore[misc]  # scikit-learn has no types
        def fit(self, x: Floats, y: Any = None, sample_weight: Any = None) -> Any:
            seen.append(len(x))
            return super().fit(x, y, sample_weight)

    class Components(PCA):  # type: ignore[misc]  # scikit-learn has no types
        def fit_transform(self, x: Floats, y: Any = None) -> Any:
            seen.append(len(x))
            return super().fit_transform(x, y)

    monkeypatch.setattr("sklearn.preprocessing.StandardScaler", Scaler)
    monkeypatch.setattr("sklearn.decomposition.PCA", Components)
    monkeypatch.setattr(reference_learners, "MOST", 2)
    folds = splits(LABELS, [str(i) for i in range(N)], seed=0)
    learner = LEARNERS["logistic regression"](Layout(embedded=4), folds, seed=0)
    fit_and_predict(learner, cases(0)[:, 2:6], LABELS, {}, 2)
    # Scaling and components of each fold, then of all training cases for the chosen penalty.
    assert seen == [30, 30, 30, 30, 60, 60]
    assert learner.estimator.best_estimator_["model"].coef_.shape == (1, 2)


def test_n_components_is_at_most_cases_of_fold() -> None:
    groups = [str(i) for i in range(20)]
    folds = splits(LABELS[:20], groups, seed=0)
    x = np.random.default_rng(0).normal(size=(20, 600))
    learner = LEARNERS["logistic regression"](Layout(embedded=600), folds, seed=0)
    assert fit_and_predict(learner, x, LABELS[:20], {"same": x}, 2)["same"].shape == (20, 2)


def test_folds_keep_groups_together() -> None:
    groups = [f"patient {i // 3}" for i in range(N)]
    for train, held_out in splits(LABELS, groups, seed=1):
        assert not {groups[i] for i in train} & {groups[i] for i in held_out}
        assert len(train) + len(held_out) == N
    with pytest.raises(ValueError, match="cases of 2 patients or lesions"):
        splits(LABELS, ["one"] * N, seed=0)
    with pytest.raises(ValueError, match="each class in 2 patients or lesions"):
        splits(LABELS, [str(label) for label in LABELS], seed=0)


def test_score_handles_class_absent_in_fold() -> None:
    x = np.array([[0.0], [1.0], [0.1], [0.9]])
    fitted = GaussianNB().fit(x, [0, 1, 0, 1])
    expected = np.mean([*np.log(fitted.predict_proba(x[:1])[:, 0]), np.log(1e-15)])
    assert log_score(fitted, x[:2], np.array([0, 2])) == pytest.approx(expected)


def test_tabpfn_receives_categories_and_runs_offline(stand_in: type[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    folds = splits(LABELS, [str(i) for i in range(N)], seed=0)
    LEARNERS["TabPFN"](LAYOUT, folds, seed=3)
    assert stand_in.made == {"random_state": 3, "categorical_features_indices": [1]}
    assert {name: os.environ[name] for name in tabpfn_model.SETTINGS} == tabpfn_model.SETTINGS
    LEARNERS["TabPFN"](Layout(embedded=4), folds, seed=3)
    assert stand_in.made["categorical_features_indices"] is None


@pytest.mark.parametrize("kind", [OSError, RuntimeError, Exception])
def test_tabpfn_without_weights_raises_with_license(
    stand_in: type[Fake], monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fit(*_: object) -> None:
        raise kind("we cannot\nreach the hub")

    monkeypatch.setattr(Fake, "fit", fit)
    learner = LEARNERS["TabPFN"](LAYOUT, splits(LABELS, [str(i) for i in range(N)], seed=0), seed=0)
    with pytest.raises(ValueError, match=r"TabPFN cannot be fitted \(we cannot reach the hub\)") as caught:
        learner.estimator.fit(cases(0), LABELS)
    for words in ("TABPFN_MODEL_CACHE_DIR", "non-commercial license", "Apache 2.0 with attribution"):
        assert words in str(caught.value)


def test_tabpfn_without_package_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tabpfn", None)
    with pytest.raises(ImportError, match=r'pip install "mmfusion\[tabpfn\]"'):
        LEARNERS["TabPFN"](LAYOUT, [], seed=0)
