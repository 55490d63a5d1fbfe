"""The classifier of scikit-learn: its own checks, and what a frame with images needs."""

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import estimator_checks_generator

from helpers import trees
from mmfusion.models import Blueprint
from mmfusion.sklearn import FusionClassifier

QUICK = {"epochs": 3, "device": "cpu", "settings": {"train": {"lr": 0.01}}}
AGAIN = ("check_classifiers_train", "check_estimators_pickle")
"""Checks that run once more with other arrays of the same numbers, which costs as much again."""


@pytest.fixture(autouse=True)
def _without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve, and a sweep of the memory, take as long as the training; nothing here looks at them."""
    monkeypatch.setattr("mmfusion.experiments.training_curve.draw", lambda *_: b"")
    monkeypatch.setattr("accelerate.utils.memory.clear_device_cache", lambda **_: None)


def checks() -> Iterator[Any]:
    """All checks apply and none is expected to fail; that of other array libraries skips itself where they are not set
    up.
    """
    for estimator, check in estimator_checks_generator(FusionClassifier("tabular_mlp", **QUICK)):
        name, options = check.func.__name__, check.keywords
        again = [pytest.mark.exhaustive] if options and name in AGAIN else []
        yield pytest.param(estimator, check, id="-".join([name, *options]), marks=again)


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_sklearn_estimator_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    root = trees.own_table(tmp_path_factory.mktemp("own"), n=24)
    table = pd.read_csv(root / "table.csv").drop(columns=["second view", "part", "hospital"])
    return table.assign(photo=[str(root / name) for name in table["photo"]])


@pytest.fixture(scope="module")
def fitted(frame: pd.DataFrame) -> FusionClassifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmfusion.experiments.training_curve.draw", lambda *_: b"")
        classifier = FusionClassifier(
            "concat", images=["photo"], image_root="/", group="patient", encoder="tiny_convnet", size=16, **QUICK
        )
        return classifier.fit(frame.drop(columns="diagnosis"), frame["diagnosis"])


@pytest.mark.slow
def test_fit_and_predict_with_images(fitted: FusionClassifier, frame: pd.DataFrame) -> None:
    cases = frame.drop(columns="diagnosis")
    assert fitted.classes_.tolist() == ["benign", "malignant", "unsure"]
    assert fitted.predictor_.spec.names == ("photo", "meta")
    assert fitted.predictor_.spec["photo"].size == (16, 16)
    assert "patient" not in fitted.predictor_.reader.schema.sources
    p = fitted.predict_proba(cases)
    assert p.shape == (24, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert fitted.predict(cases).tolist() == fitted.classes_[p.argmax(axis=1)].tolist()
    assert list(fitted.history_.index) == [1, 2, 3]
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(cases), p)
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(cases.drop(columns="age"))
    with pytest.raises(FileNotFoundError):
        fitted.predict(cases.assign(photo="nowhere.png"))


def test_groups_are_kept_together(monkeypatch: pytest.MonkeyPatch, frame: pd.DataFrame) -> None:
    tables: list[pd.DataFrame] = []

    def stop(model: Any, data: Any, **_: Any) -> Any:
        tables.append(pd.read_csv(data.options["table"]))
        raise KeyboardInterrupt

    monkeypatch.setattr("mmfusion.sklearn.fit", stop)
    cases, labels = frame[["patient", "age"]], frame["diagnosis"]
    other = np.arange(24) % 4
    for options, groups, names in (({"group": "patient"}, None, frame["patient"]), ({}, other, other)):
        with pytest.raises(KeyboardInterrupt):
            FusionClassifier("tabular_mlp", validation=0.25, **options).fit(cases, labels, groups=groups)
        sets = tables[-1]["mmfusion set"]
        assert set(sets) == {"train", "validation"}
        assert pd.crosstab(np.asarray(names), sets).ne(0).sum(axis=1).eq(1).all()


def test_get_params_of_nested_mappings() -> None:
    classifier = FusionClassifier("gmu", blueprint={"dim": 64}, settings={"train": {"lr": 1e-3}})
    assert classifier.get_params()["blueprint__dim"] == 64
    assert classifier.get_params()["settings__train__lr"] == 1e-3
    copy = clone(classifier).set_params(blueprint__head__dropout=0.1, settings__train__lr=1e-2, model="late")
    assert copy.blueprint == {"dim": 64, "head": {"dropout": 0.1}}
    assert (copy.model, copy.settings) == ("late", {"train": {"lr": 1e-2}})
    assert classifier.blueprint == {"dim": 64}, "a clone's keys are its own"
    built = FusionClassifier("gmu", blueprint={"vectors": "concat", "dim": 8, "head": {"dropout": 0.1}})._model()
    assert isinstance(built, Blueprint)
    head = built.to_dict()["head"]
    assert (built.vectors, built.dim, head["name"], head["dropout"]) == ("concat", 8, "mlp", 0.1)
    with pytest.raises(ValueError, match="Invalid parameter 'dim'"):
        classifier.set_params(dim=3)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, {"y": ["a"] * 8}, "y has one class alone, 'a': expected at least two classes"),
        ({}, {"y": ["a", "b", None, np.nan] * 2}, "Input y contains NaN: 4 of 8 cases have no class"),
        ({}, {"y": ["a", "b"]}, "y expects one class per case, got 2 for 8 rows of X"),
        ({}, {"groups": [1, 2]}, "groups expects one entry per case, got 2 for 8"),
        ({"group": "who"}, {}, r"group expects one of the columns \['age'\], got 'who'"),
        ({"validation": 0.0}, {}, r"validation expects a share above 0 and below 1, got 0\.0"),
        ({"validation": "a fifth"}, {}, "validation expects a share above 0 and below 1, got 'a fifth'"),
        ({"blueprint": ["gated"]}, {}, r"blueprint expects a mapping or None, got \['gated'\]"),
        ({"settings": ["lr"]}, {}, r"settings expects a mapping or None, got \['lr'\]"),
        ({"settings": {"train": 3}}, {}, "train is a section: set one of its keys"),
        ({"blueprint": {"vector": "gated"}}, {}, "unknown.*vector|vector.*did you mean"),
    ],
)
def test_invalid_fit_arguments_raise(options: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    cases = pd.DataFrame({"age": np.arange(8.0)})
    with pytest.raises(ValueError, match=message):
        FusionClassifier("tabular_mlp", **options).fit(cases, **{"y": ["a", "b"] * 4, **arguments})


def test_fit_without_cases_raises() -> None:
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\): expected at least two cases"):
        FusionClassifier("tabular_mlp").fit(pd.DataFrame({"age": []}), [])


@pytest.mark.slow
def test_works_in_cross_validation_pipeline_and_grid_search(frame: pd.DataFrame) -> None:
    cases, labels = frame[["age", "stage", "smoker", "patient"]], frame["diagnosis"]
    classifier = FusionClassifier("tabular_mlp", group="patient", **QUICK)
    pipeline = make_pipeline(FunctionTransformer(lambda table: table.drop(columns="smoker")), classifier)
    scores = cross_val_score(pipeline, cases, labels, groups=frame["patient"], cv=GroupKFold(2), error_score="raise")
    assert scores.shape == (2,)
    assert ((scores >= 0) & (scores <= 1)).all()
    grid = GridSearchCV(classifier, {"blueprint__dim": [8, 16]}, cv=2, error_score="raise").fit(cases, labels)
    assert grid.best_params_["blueprint__dim"] in (8, 16)
    assert grid.best_estimator_.predictor_.model.blueprint.dim == grid.best_params_["blueprint__dim"]
