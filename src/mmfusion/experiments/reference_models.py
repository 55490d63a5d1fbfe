"""Reference models of scikit-learn on the table alone, which every report lists next to the models."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmfusion.data.cases import CaseDataset
from mmfusion.spec import Classes, Columns
from mmfusion.tokens import Table
from mmfusion.training.whole_tables import whole_tables
from mmfusion.utils.optional import need

Floats = NDArray[np.float64]

PENALTIES: Mapping[str, Any] = {"C": np.logspace(-4, 4, 9)}
"""Candidates of the logistic regression's search."""
BOOSTINGS: Mapping[str, Any] = {"learning_rate": [0.03, 0.1], "max_leaf_nodes": [4, 15], "max_iter": [50, 150]}
"""Candidates of the gradient boosting's search."""


def logistic_regression(columns: Columns, *, seed: int = 0) -> Any:
    """Multinomial logistic regression on numbers, indicators of missing cells, and one-hot categories.

    The strength of the L2 penalty is chosen by cross-validation in the training set, over nine powers of ten around
    scikit-learn's default. A missing number is replaced by the training mean, a missing category as all zeros.

    Args:
        columns: The columns of the table; :func:`features` are its inputs.
        seed: Of the folds.

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
        scoring="neg_log_loss",
        cv=selection.StratifiedKFold(5, shuffle=True, random_state=seed),
    )
    return pipeline.make_pipeline(inputs, search)


def gradient_boosting(columns: Columns, *, seed: int = 0) -> Any:
    """Histogram gradient boosting, categories as such, missing cells as they are.

    Learning rate, leaves and rounds are chosen by cross-validation in the training set.

    Args:
        columns: The columns of the table; :func:`features` are its inputs.
        seed: Of the folds and the boosting.

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
        scoring="neg_log_loss",
        cv=selection.StratifiedKFold(5, shuffle=True, random_state=seed),
    )


REFERENCES: Mapping[str, Callable[..., Any]] = {
    "logistic regression": logistic_regression,
    "gradient boosting": gradient_boosting,
}


def features(table: Table) -> Floats:
    """A table as one array, numbers then codes, shape ``(n, n_num + n_cat)``; NaN is missing in both."""
    codes = table.categorical.double()
    codes = torch.where(codes < 0, torch.nan, codes)
    return torch.cat([table.numerical.double(), codes], 1).numpy()


def table_of(dataset: CaseDataset) -> tuple[Columns, Table]:
    """The only table of a dataset, of all its cases; all cells of a case that lacks it are missing.

    Raises:
        ValueError: If it has none, or several.
    """
    tables = dataset.spec.tables
    if len(tables) != 1:
        raise ValueError(f"the reference rows need a single table, the dataset has {sorted(tables)}")
    [(name, columns)] = tables.items()
    table, row = whole_tables(dataset)[name]
    present = row.unsqueeze(1)
    numerical = torch.where(present, table.numerical, torch.nan)
    return columns, Table(numerical, torch.where(present, table.categorical, -1))


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
        ValueError: If there is not a single table, or a class has fewer than 5 training cases, which the
            cross-validation needs.
    """
    columns, table = table_of(train)
    labels = train.labels(target).numpy()
    counts = np.bincount(labels, minlength=kind.n)
    if few := [name for name, n in enumerate(counts.tolist()) if 0 < n < 5]:
        raise ValueError(f"the reference rows need 5 training cases of each class, classes {few} have fewer")
    inputs = {part: features(table_of(dataset)[1]) for part, dataset in held_out.items()}
    probabilities: dict[str, dict[str, Floats]] = {}
    for name, builder in REFERENCES.items():
        fitted = builder(columns, seed=seed).fit(features(table), labels)
        probabilities[name] = {}
        for part, x in inputs.items():
            output = np.zeros((len(x), kind.n))
            output[:, fitted.classes_] = fitted.predict_proba(x)
            probabilities[name][part] = output
    return probabilities
