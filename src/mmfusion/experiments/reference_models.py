"""Reference models of scikit-learn on the table alone, which every report lists next to the models."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.cases import CaseDataset
from mmfusion.experiments.reference_features import features, table_of
from mmfusion.experiments.reference_learners import Learner, Splits, fit_and_predict, log_score, splits
from mmfusion.metrics.ranking import Floats
from mmfusion.spec import Classes, Columns
from mmfusion.utils.optional import need

PENALTIES: Mapping[str, Any] = {"C": np.logspace(-4, 4, 9)}
"""Candidates of the logistic regression's search."""
BOOSTINGS: Mapping[str, Any] = {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 15], "max_iter": [50, 150]}
"""Candidates of the gradient boosting's search."""


def logistic_regression(columns: Columns, *, seed: int = 0, folds: Splits | None = None) -> Any:
    """Multinomial logistic regression on numbers, indicators of missing cells, and one-hot categories.

    The strength of the L2 penalty is chosen by cross-validation in the training set, over nine powers of ten around
    scikit-learn's default. A missing number is replaced by the training mean, a missing category as all zeros.

    Args:
        columns: The columns of the table; :func:`~mmfusion.experiments.reference_features.features` are its inputs.
        seed: Of the folds.
        folds: Of the cross-validation, if cases come in groups; None: stratified ones.

    Returns:
        A scikit-learn estimator, not fitted.
    """
    compose, pipeline = need("sklearn.compose", "bench"), need("sklearn.pipeline", "bench")
    impute, preprocessing = need("sklearn.impute", "bench"), need("sklearn.preprocessing", "bench")
    linear, selection = need("sklearn.linear_model", "bench"), need("sklearn.model_selection", "bench")
    n_numerical = len(columns.numerical)
    inputs = compose.ColumnTransformer(
        [
            (
                "numbers",
                # Without keep_empty_features a column that is missing in all training rows would change the width.
                impute.SimpleImputer(strategy="mean", add_indicator=True, keep_empty_features=True),
                list(range(n_numerical)),
            ),
            (
                "categories",
                preprocessing.OneHotEncoder(
                    categories=[np.arange(n, dtype=np.float64) for n in columns.cardinalities], handle_unknown="ignore"
                ),
                list(range(n_numerical, len(columns))),
            ),
        ],
        sparse_threshold=0,
    )
    search = selection.GridSearchCV(
        linear.LogisticRegression(max_iter=2000),
        dict(PENALTIES),
        **_validation(folds, seed),
    )
    return pipeline.make_pipeline(inputs, search)


def gradient_boosting(columns: Columns, *, seed: int = 0, folds: Splits | None = None) -> Any:
    """Histogram gradient boosting, categories as such, missing cells as they are.

    Learning rate, leaves and rounds are chosen by cross-validation in the training set.

    Args:
        columns: The columns of the table; :func:`~mmfusion.experiments.reference_features.features` are its inputs.
        seed: Of the folds and the boosting.
        folds: Of the cross-validation, if cases come in groups; None: stratified ones.

    Returns:
        A scikit-learn estimator, not fitted.
    """
    ensemble, selection = need("sklearn.ensemble", "bench"), need("sklearn.model_selection", "bench")
    n_numerical = len(columns.numerical)
    return selection.GridSearchCV(
        ensemble.HistGradientBoostingClassifier(
            categorical_features=list(range(n_numerical, len(columns))) or None, random_state=seed
        ),
        dict(BOOSTINGS),
        **_validation(folds, seed),
    )


def _validation(folds: Splits | None, seed: int) -> dict[str, Any]:
    """Score and folds of a search."""
    if folds is not None:
        # A fold's training cases may lack a class.
        return {"scoring": log_score, "cv": folds}
    selection = need("sklearn.model_selection", "bench")
    return {"scoring": "neg_log_loss", "cv": selection.StratifiedKFold(5, shuffle=True, random_state=seed)}


REFERENCES: Mapping[str, Callable[..., Any]] = {
    "logistic regression": logistic_regression,
    "gradient boosting": gradient_boosting,
}


def table_folds(dataset: CaseDataset, labels: NDArray[np.int64], *, seed: int) -> Splits | None:
    """Grouped folds of a training set in which some patient has several cases; None: each case is its own group."""
    return splits(labels, dataset.groups, seed=seed) if len(set(dataset.groups)) < len(dataset) else None


def training_labels(train: CaseDataset, target: str, kind: Classes) -> NDArray[np.int64]:
    """Labels of a training set, checked.

    Raises:
        ValueError: If a class has fewer than 5 training cases, which the cross-validation needs.
    """
    labels: NDArray[np.int64] = train.labels(target).numpy()
    counts = np.bincount(labels, minlength=kind.n)
    if few := [name for name, n in enumerate(counts.tolist()) if 0 < n < 5]:
        raise ValueError(f"the reference rows need 5 training cases of each class, classes {few} have fewer")
    return labels


def reference_probabilities(
    train: CaseDataset, held_out: Mapping[str, CaseDataset], target: str, kind: Classes, *, seed: int = 0
) -> dict[str, dict[str, Floats]]:
    """Fit the reference models on the training set's table and predict other sets.

    Args:
        train: The training set.
        held_out: The sets to predict, by name.
        target: Name of the target.
        kind: Its classes.
        seed: Of all that is random.

    Returns:
        By reference and set, shape ``(n, k)``; 0 for a class that the training set lacks.

    Raises:
        ValueError: If there is not a single table, or as :func:`training_labels`.
    """
    columns, table = table_of(train)
    labels = training_labels(train, target, kind)
    folds = table_folds(train, labels, seed=seed)
    inputs = {part: features(table_of(dataset)[1]) for part, dataset in held_out.items()}
    return {
        name: fit_and_predict(
            Learner(builder(columns, seed=seed, folds=folds), {}), features(table), labels, inputs, kind.n
        )
        for name, builder in REFERENCES.items()
    }
