"""Fusion models as estimators of scikit-learn: a frame in, with columns of numbers, categories and image files."""

import tempfile
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from mmfusion.api.fit import fit, nested
from mmfusion.data.splits.deal import deal
from mmfusion.experiments.chosen_data import TABLE, Data
from mmfusion.experiments.predictor import Predictor
from mmfusion.experiments.settings import merge
from mmfusion.models import Blueprint, blueprint_of
from mmfusion.training.reporter import Reporter

__all__ = ["FusionClassifier"]

_TARGET, _SET, _GROUP = "mmfusion target", "mmfusion set", "mmfusion group"
"""Columns that are added to the frame; a frame's own are not called so."""
_NESTED = ("blueprint", "settings")
"""Parameters whose keys are parameters, too: ``blueprint__vectors``."""
_ALONE: dict[str, Any] = {
    "run": {"test": False, "robustness": False, "references": False, "cache_gb": 0.0},
    "train": {"resamples": 0},
}
"""Nothing is tested here: an estimator's caller does that."""


class _FusionEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What a classifier shares with estimators of other targets: all but the target itself.

    A subclass has the parameters as arguments, checks ``y`` in its ``fit`` and gives :meth:`_fit` the target's cells,
    how a table reads them and what a split keeps balanced; its predictions are columns of :meth:`_predicted`.
    """

    model: str | Path | Blueprint
    images: Sequence[str] | str
    image_root: str | Path | None
    group: str | None
    epochs: int | None
    batch_size: int | None
    encoder: str | None
    weights: str | None
    size: int | Sequence[int] | None
    validation: float
    blueprint: Mapping[str, Any] | None
    settings: Mapping[str, Any] | None
    random_state: Any
    device: str
    verbose: bool | Reporter

    predictor_: Predictor

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters; with ``deep`` the keys of ``blueprint`` and ``settings``, too, as ``blueprint__vectors``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            for name in _NESTED:
                if isinstance(params[name], Mapping):  # what is wrong with another value is an error of fit
                    params |= {f"{name}__{key}": value for key, value in _keys(params[name]).items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``blueprint__head__dropout=0.1`` sets one key of the blueprint's slot ``head``.

        Raises:
            ValueError: If a parameter does not exist.
        """
        inner = {key: value for key, value in params.items() if key.partition("__")[0] in _NESTED and "__" in key}
        super().set_params(**{key: value for key, value in params.items() if key not in inner})
        for key, value in inner.items():
            name, *path = key.split("__")
            for part in reversed(path):
                value = {part: value}
            # A new mapping: that of a clone stays as it is.
            setattr(self, name, merge(getattr(self, name) or {}, value))
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    def _fit(
        self,
        frame: pd.DataFrame,
        target: Sequence[str | float],
        reading: Mapping[str, Any],
        strata: Sequence[int],
        groups: Any,
    ) -> None:
        """Train in a folder that is gone afterwards; the model and its reader stay.

        Args:
            frame: The cases.
            target: The target of each.
            reading: Options of a table that say how the target is read, such as its ``classes``.
            strata: The stratum of each case, from 0: the validation set has its share of each.
            groups: As for :meth:`FusionClassifier.fit`.
        """
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        for name in _NESTED:
            if not isinstance(getattr(self, name), Mapping | None):
                raise ValueError(f"{name} expects a mapping or None, got {getattr(self, name)!r}")
        if not isinstance(self.validation, Real) or not 0 < self.validation < 1:
            raise ValueError(f"validation expects a share above 0 and below 1, got {self.validation!r}")
        group_of = self._groups(frame, groups)
        held_out = deal(list(strata), group_of, (1 - self.validation, self.validation), int(seed)) == 1
        if held_out.all() or not held_out.any():
            raise ValueError(
                f"validation={self.validation} of {len(frame)} cases leaves a set without cases: n_samples={len(frame)}"
            )
        added = {
            _TARGET: list(target),
            _SET: ["validation" if held else "train" for held in held_out],
            _GROUP: group_of,
        }
        cases = pd.concat([frame, pd.DataFrame(added)], axis=1)
        images = [self.images] if isinstance(self.images, str) else list(self.images or ())
        options: dict[str, Any] = {"label": _TARGET, "test": _SET, "group": _GROUP, **reading}
        if images:
            options["images"] = images
        if self.size is not None:
            options["size"] = self.size if isinstance(self.size, int) else list(self.size)
        if not self._named:
            options["overrides"] = dict.fromkeys(frame.columns, "numerical")
        if self.group is not None:
            options["drop"] = [self.group]
        with tempfile.TemporaryDirectory(prefix="mmfusion-") as place:
            table = Path(place) / "cases.csv"
            cases.to_csv(table, index=False, lineterminator="\n")
            root = str(Path(self.image_root or ".").absolute()) if images else None
            run = fit(
                self._model(),
                Data(TABLE, root, {"table": str(table), **options}),
                epochs=self.epochs,
                batch_size=self.batch_size,
                encoder=self.encoder,
                weights=self.weights,
                seed=int(seed),
                device=self.device,
                out=Path(place) / "run",
                settings=merge(_ALONE, {"run": {"cache": place}}, nested(self.settings or {})),
                verbose=self.verbose,
            )
            self.predictor_ = run.predictor
            self.history_ = run.history

    def _model(self) -> str | Path | Blueprint:
        if not self.blueprint:
            return self.model
        content = blueprint_of(self.model).to_dict()
        return Blueprint.from_dict(
            merge(content, {slot: _part(content, slot, value) for slot, value in self.blueprint.items()})
        )

    def _groups(self, frame: pd.DataFrame, groups: Any) -> list[str]:
        if groups is not None:
            group_of = column_or_1d(groups)
            if len(group_of) != len(frame):
                raise ValueError(f"groups expects one entry per case, got {len(group_of)} for {len(frame)}")
            return [str(group) for group in group_of]
        if self.group is None:
            return [str(row) for row in range(len(frame))]
        if self.group not in frame.columns:
            raise ValueError(f"group expects one of the columns {list(frame.columns)}, got {self.group!r}")
        return [str(group) for group in frame[self.group]]

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """The cases as a frame, with checks of names and numbers of columns."""
        named = isinstance(X, pd.DataFrame)
        if named:
            validate_data(self, X, reset=reset, skip_check_array=True)
            frame: pd.DataFrame = X.rename(columns=str).reset_index(drop=True)
        else:
            array = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
            if array.dtype.kind == "O":
                array = array.astype(np.float64)
            frame = pd.DataFrame(array, columns=[f"x{column}" for column in range(array.shape[1])])
        if reset:
            self._named = named
        return frame

    def _predicted(self, X: Any) -> pd.DataFrame:
        """All columns that the trained run predicts for cases; arguments and errors as of ``predict``."""
        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        if not self._named:
            frame.columns = pd.Index([f"x{column}" for column in range(frame.shape[1])])
        return self.predictor_.predict(frame, self.image_root)


class FusionClassifier(ClassifierMixin, _FusionEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A fusion model of images and columns as a classifier.

    A share of the cases that are given chooses the epoch: what another split holds out is not seen.

    Args:
        model: A registered name, a blueprint's ``.toml`` file, or a blueprint.
        images: Columns with names of image files, one modality each.
        image_root: The folder that they are relative to; None: the working folder.
        group: The column of the patient or lesion, which is no feature: a group is never in training and validation
            both. ``fit(..., groups=...)`` goes before it.
        epochs: Passes over the training set; None: by the recipe of tables.
        batch_size: Cases a step; None: by the recipe.
        encoder: Image encoder; None: by the recipe.
        weights: Of the encoder; None: by the recipe.
        size: Pixels along each side; None: by the recipe.
        validation: Share of the cases that chooses the epoch, above 0 and below 1.
        blueprint: Slots that differ from the model's, ``{"vectors": "gated", "dim": 64}``; a mapping changes single
            options of a slot's part, ``{"head": {"dropout": 0.1}}``. Their keys are parameters, too:
            ``blueprint__vectors``, ``blueprint__head__dropout``.
        settings: Others of a run, as for :func:`~mmfusion.fit`: ``{"train": {"lr": 1e-3}}``, or
            ``settings__train__lr``.
        random_state: Seed of everything random; None: another one each time.
        device: ``auto``, ``cpu`` or ``cuda``.
        verbose: Whether progress is shown.

    Attributes:
        classes_: The classes, sorted.
        predictor_: Model and reader, as of a run.
        history_: One row per epoch.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, of a frame.
    """

    def __init__(
        self,
        model: str | Path | Blueprint = "concat",
        *,
        images: Sequence[str] | str = (),
        image_root: str | Path | None = None,
        group: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        encoder: str | None = None,
        weights: str | None = None,
        size: int | Sequence[int] | None = None,
        validation: float = 0.2,
        blueprint: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        device: str = "auto",
        verbose: bool | Reporter = False,
    ) -> None:
        self.model = model
        self.images = images
        self.image_root = image_root
        self.group = group
        self.epochs = epochs
        self.batch_size = batch_size
        self.encoder = encoder
        self.weights = weights
        self.size = size
        self.validation = validation
        self.blueprint = blueprint
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train.

        Args:
            X: One row per case: a frame, or an array of numbers. NaN and empty cells are missing.
            y: The class of each case.
            groups: The patient or lesion of each case, in place of the column ``group``.

        Raises:
            ValueError: If there are fewer than two classes, or as :func:`~mmfusion.fit`.
            FileNotFoundError: If an image does not exist.
        """
        frame = self._frame(X, reset=True)
        labels = column_or_1d(y, warn=True)
        if len(labels) != len(frame):
            raise ValueError(f"y expects one class per case, got {len(labels)} for {len(frame)} rows of X")
        if not len(labels):
            raise ValueError("Found array with 0 sample(s): expected at least two cases, one of each class")
        if n := int(pd.isna(labels).sum()):
            raise ValueError(f"Input y contains NaN: {n} of {len(labels)} cases have no class; leave them out")
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class alone, {str(self.classes_[0])!r}: expected at least two classes")
        names = [f"class {code}" for code in range(len(self.classes_))]
        self._fit(frame, [names[code] for code in codes], {"classes": names}, codes.tolist(), groups)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probability of each class, shape ``(n, k)`` in the order of ``classes_``.

        Args:
            X: As for :meth:`fit`.

        Raises:
            sklearn.exceptions.NotFittedError: If it is not trained.
            ValueError: If columns are missing, or a cell is not what its column holds.
        """
        predicted = self._predicted(X)
        columns = [name for name in predicted.columns if str(name).startswith("prob_")]
        return predicted[columns].to_numpy(np.float64)

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each case.

        Args:
            X: As for :meth:`fit`.

        Raises:
            sklearn.exceptions.NotFittedError: As :meth:`predict_proba`, and the others.
            ValueError: Also if the model's output is not finite.
        """
        p = self.predict_proba(X)
        if n := int((~np.isfinite(p).all(axis=1)).sum()):
            raise ValueError(f"the model's output for {n} of {len(p)} cases is not finite: they have no class")
        predicted: NDArray[Any] = self.classes_[p.argmax(axis=1)]
        return predicted


def _keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of nested mappings, with two underscores between them."""
    keys: dict[str, Any] = {}
    for name, value in values.items():
        keys[name] = value
        if isinstance(value, Mapping):
            keys |= {f"{name}__{key}": inner for key, inner in _keys(value).items()}
    return keys


def _part(content: Mapping[str, Any], slot: str, value: Any) -> Any:
    """A slot's new value: with the part's name where a mapping changes its options alone."""
    current = content.get(slot)
    if isinstance(value, Mapping) and "name" not in value and isinstance(current, str):
        return {"name": current, **value}
    return value
