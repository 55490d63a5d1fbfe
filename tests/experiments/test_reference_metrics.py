"""The reference rows of one run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmfusion.experiments import run_report
from mmfusion.training.result_files import read_json


def estimate(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": None, "high": None, "error": None}


def metrics(own: float | None, **references: float | None) -> dict[str, object]:
    return {
        "test": {"auc": estimate(own)},
        "references": {name.replace("_", " "): {"auc": estimate(value)} for name, value in references.items()},
    }


@pytest.mark.parametrize(
    ("own", "references", "expected"),
    [
        (0.9, {"logistic_regression": 0.8, "gradient_boosting": 0.9}, []),
        (0.8, {"logistic_regression": 0.9, "gradient_boosting": 0.7}, ["logistic regression (0.900) has"]),
        (
            0.8,
            {"logistic_regression": 0.9, "gradient_boosting": 0.85},
            ["logistic regression (0.900) and gradient boosting (0.850) have"],
        ),
        (None, {"logistic_regression": 0.9}, []),
        (0.8, {"logistic_regression": None}, []),
    ],
)
def test_better_reference_row_is_named(own, references, expected):
    found = run_report._ahead(metrics(own, **references))
    assert len(found) == len(expected)
    for sentence, words in zip(found, expected, strict=True):
        assert words in sentence
        assert f"higher test AUC than this model ({own:.3f})" in sentence


def test_run_without_references_has_no_sentence():
    assert run_report._ahead({"test": {"auc": estimate(0.5)}}) == []


@pytest.mark.slow
def test_references_do_not_change_metrics(start: Callable[..., Path]) -> None:
    with_them = read_json(start("with") / "metrics.json")
    without = read_json(start("without", {"run": {"references": False}}) / "metrics.json")
    assert set(with_them["references"]) == {"logistic regression", "gradient boosting"}
    for row in with_them["references"].values():
        assert set(row) == set(with_them["test"])
        assert row["auc"]["low"] <= row["auc"]["value"] <= row["auc"]["high"]
    for run in (with_them, without):
        del run["cost"]
    assert "references" not in without
    del with_them["references"]
    assert with_them == without


@pytest.mark.slow
def test_references_match_sklearn(start: Callable[..., Path]) -> None:
    """The AUC of the row equals that of the estimator fitted by hand on the training set."""
    from sklearn.metrics import roc_auc_score

    from mmfusion import registry
    from mmfusion.experiments.reference_models import REFERENCES, features, table_of

    found = read_json(start() / "metrics.json")["references"]
    bundle = registry.datasets.create("tiny")
    [(target, _)] = bundle.spec.targets.items()
    columns, table = table_of(bundle.train)
    for name, builder in REFERENCES.items():
        fitted = builder(columns, seed=0).fit(features(table), bundle.train.labels(target).numpy())
        p = fitted.predict_proba(features(table_of(bundle.test)[1]))
        np.testing.assert_allclose(
            found[name]["auc"]["value"], roc_auc_score(bundle.test.labels(target).numpy(), p[:, 1]), atol=1e-12
        )
