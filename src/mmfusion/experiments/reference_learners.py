"""Estimators of reference rows on any features: logistic regression, gradient boosting, LightGBM, TabPFN.

Each is tuned by cross-validation in the training set; scaling and components are fitted in each fold's training cases
alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmfusion.experiments import tabpfn_model
from mmfusion.experiments.reference_features import Layout
from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

FOLDS = 5
PENALTIES: Mapping[str, Any] = {"C": np.logspace(-4, 1, 6)}
"""Candidates of the logistic regression's search."""
BOOSTINGS: Mapping[str, Any] = {"learning_rate": [0.1], "max_leaf_nodes": [4, 15], "max_iter": [50, 150]}
"""Candidates of a gradient boosting's search."""
LEAVES_ON_EMBEDDINGS = 4
"""Leaves of each tree on embeddings, where more leaves would take a multiple of the time."""
LEAVES_AND_ROUNDS = {"max_leaf_nodes": "num_leaves", "max_iter": "n_estimators"}
"""LightGBM's names of them."""
MOST, MOST_TABPFN = 512, 64
"""Principal components that are kept of embeddings with more columns, and for TabPFN.

Few encoders have more than 512 features, but several images together do, and the time of every learner grows with the
columns. TabPFN attends to each of them, and is slow without a GPU. Trees lose from fewer components.
"""

Splits = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]


class Learner(NamedTuple):
    """An estimator, not fitted, and the arguments of its ``fit`` beside features and labels."""

    estimator: Any
    arguments: Mapping[str, Any]


def splits(labels: NDArray[np.int64], groups: Sequence[str], *, seed: int) -> Splits:
    """Folds of a cross-validation in the training set, stratified, and grouped if some patient has several cases.

    Args:
        labels: Shape ``(n,)``.
        groups: The patient or lesion of each case.
        seed: Of the folds.

    Raises:
        ValueError: If there are too few groups.
    """
    selection = need("sklearn.model_selection", "bench")
    unique, codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    if len(unique) == len(labels):
        return list(selection.StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels))
    if len(unique) < 2:
        raise ValueError("the reference rows need cases of 2 patients or lesions in the training set")
    folds = min(FOLDS, len(unique))
    grouped = selection.StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    # A class may have too few groups for every fold to have it, which the score below bears.
    usable = [
        (train, held_out)
        for train, held_out in grouped.split(codes, labels, codes)
        if len(held_out) and len(set(labels[train].tolist())) > 1
    ]
    if not usable:
        raise ValueError("the reference rows need training cases of each class in 2 patients or lesions")
    return usable


def log_score(estimator: Any, x: Floats, labels: NDArray[np.int64]) -> float:
    """Mean log probability of the true classes; of a class that the fold's training cases lack, it is that of 1e-15."""
    known = {int(c): column for column, c in enumerate(estimator.classes_)}
    p = estimator.predict_proba(x)
    of_truth = [row[known[label]] if label in known else 0.0 for row, label in zip(p, labels.tolist())]
    return float(np.mean(np.log(np.clip(of_truth, 1e-15, 1.0))))


def fit_and_predict(
    learner: Learner, train: Floats, labels: NDArray[np.int64], held_out: Mapping[str, Floats], n_classes: int
) -> dict[str, Floats]:
    """Fit to the training set and predict others.

    Args:
        learner: From one of the functions below.
        train: Features of the training set, shape ``(n, columns)``.
        labels: Shape ``(n,)``, class indices.
        held_out: Features of other sets, by name.
        n_classes: Number of classes.

    Returns:
        By set, shape ``(n, k)``; 0 for a class that the training set lacks.
    """
    fitted = learner.estimator.fit(train, labels, **learner.arguments)
    probabilities = {}
    for part, x in held_out.items():
        output = np.zeros((len(x), n_classes))
        output[:, np.asarray(fitted.classes_)] = fitted.predict_proba(x)
        probabilities[part] = output
    return probabilities


def logistic_regression(layout: Layout, folds: Splits, *, seed: int) -> Learner:
    """Multinomial logistic regression: standardized numbers and embeddings, missing ones at the mean with indicators,
    one-hot categories; the L2 penalty is tuned.
    """
    compose, pipeline = need("sklearn.compose", "bench"), need("sklearn.pipeline", "bench")
    impute, preprocessing = need("sklearn.impute", "bench"), need("sklearn.preprocessing", "bench")
    linear = need("sklearn.linear_model", "bench")
    columns = layout.columns
    numbers = pipeline.make_pipeline(
        # Without keep_empty_features a column that is missing in all training rows would change the width.
        impute.SimpleImputer(strategy="mean", add_indicator=True, keep_empty_features=True),
        preprocessing.StandardScaler(),
    )
    inputs = compose.ColumnTransformer(
        [
            ("numbers", numbers, columns["numbers"]),
            ("categories", _one_hot(layout), columns["categories"]),
            ("embeddings", _embeddings(layout, folds, MOST), columns["embeddings"]),
            ("images", "passthrough", columns["images"]),
        ],
        sparse_threshold=0,
    )
    return _searched(inputs, linear.LogisticRegression(max_iter=2000), PENALTIES, folds)


def gradient_boosting(layout: Layout, folds: Splits, *, seed: int) -> Learner:
    """Scikit-learn's histogram gradient boosting: categories as such, missing cells as they are."""
    ensemble = need("sklearn.ensemble", "bench")
    columns = layout.columns
    estimator = ensemble.HistGradientBoostingClassifier(
        categorical_features=columns["categories"] or None, random_state=seed
    )
    return _searched(_as_they_are(layout, folds), estimator, _boostings(layout), folds)


def lightgbm(layout: Layout, folds: Splits, *, seed: int) -> Learner:
    """LightGBM: categories as such, missing cells as they are."""
    library = need("lightgbm", "lightgbm")
    estimator = library.LGBMClassifier(
        random_state=seed, n_jobs=1, deterministic=True, force_col_wise=True, verbosity=-1
    )
    candidates = {LEAVES_AND_ROUNDS.get(name, name): values for name, values in _boostings(layout).items()}
    learner = _searched(_as_they_are(layout, folds), estimator, candidates, folds)
    categories = layout.columns["categories"]
    return learner._replace(arguments={"model__categorical_feature": categories}) if categories else learner


def tabpfn(layout: Layout, folds: Splits, *, seed: int) -> Learner:
    """TabPFN, which needs no tuning: categories as such, missing cells as they are."""
    model = tabpfn_model.TabPFN(_as_they_are(layout, folds, MOST_TABPFN), layout.columns["categories"], seed=seed)
    return Learner(model, {})


def _boostings(layout: Layout) -> dict[str, Any]:
    """Candidates of a gradient boosting's search."""
    return {**BOOSTINGS, **({"max_leaf_nodes": [LEAVES_ON_EMBEDDINGS]} if layout.embedded else {})}


def _searched(inputs: Any, estimator: Any, candidates: Mapping[str, Any], folds: Splits) -> Learner:
    pipeline, selection = need("sklearn.pipeline", "bench"), need("sklearn.model_selection", "bench")
    steps = pipeline.Pipeline([("inputs", inputs), ("model", estimator)])
    grid = {f"model__{name}": values for name, values in candidates.items()}
    return Learner(selection.GridSearchCV(steps, grid, scoring=log_score, cv=folds, error_score="raise"), {})


def _as_they_are(layout: Layout, folds: Splits, most: int = MOST) -> Any:
    """Numbers, codes, embeddings and present images, in the order of the layout."""
    compose = need("sklearn.compose", "bench")
    columns = layout.columns
    return compose.ColumnTransformer(
        [
            ("numbers", "passthrough", columns["numbers"]),
            ("categories", "passthrough", columns["categories"]),
            ("embeddings", _embeddings(layout, folds, most), columns["embeddings"]),
            ("images", "passthrough", columns["images"]),
        ]
    )


def _embeddings(layout: Layout, folds: Splits, most: int) -> Any:
    """Standardized embeddings, an absent image at the mean, and the first principal components if there are many."""
    decomposition, impute = need("sklearn.decomposition", "bench"), need("sklearn.impute", "bench")
    pipeline, preprocessing = need("sklearn.pipeline", "bench"), need("sklearn.preprocessing", "bench")
    steps = [impute.SimpleImputer(strategy="mean", keep_empty_features=True), preprocessing.StandardScaler()]
    if layout.embedded > most:
        # A fold's training cases cannot have more components than there are cases.
        kept = min(most, *(len(train) for train, _ in folds))
        steps.append(decomposition.PCA(kept, svd_solver="full"))
    return pipeline.make_pipeline(*steps)


def _one_hot(layout: Layout) -> Any:
    preprocessing = need("sklearn.preprocessing", "bench")
    categories = [np.arange(n, dtype=np.float64) for n in layout.cardinalities]
    return preprocessing.OneHotEncoder(categories=categories, handle_unknown="ignore")


LEARNERS: Mapping[str, Callable[..., Learner]] = {
    "logistic regression": logistic_regression,
    "gradient boosting": gradient_boosting,
    "LightGBM": lightgbm,
    "TabPFN": tabpfn,
}
