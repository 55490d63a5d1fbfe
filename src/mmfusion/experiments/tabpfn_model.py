"""TabPFN, an optional reference: its package, its weights and their license."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.metrics.ranking import Floats
from mmfusion.utils.optional import need

LICENSE = (
    "TabPFN's weights have a license of their own: those of TabPFN-2.5 and later Prior Labs' non-commercial license, "
    "accepted once in an account there; those of TabPFN-2 the Prior Labs License (Apache 2.0 with attribution)"
)
SETTINGS = {"TABPFN_NO_BROWSER": "1", "TABPFN_DISABLE_TELEMETRY": "1"}
"""Environment variables unless they are set: no login in the middle of a comparison, no report on the data's shape."""


class TabPFN:
    """TabPFN's classifier behind a transformation of its inputs, with one error for all that it raises.

    Args:
        inputs: A transformer of scikit-learn, fitted to the training cases.
        categories: Columns of codes behind it.
        seed: Of its ensemble.

    Raises:
        ImportError: If the package is not installed.
    """

    def __init__(self, inputs: Any, categories: Sequence[int], *, seed: int) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        library = need("tabpfn", "tabpfn")
        self._inputs = inputs
        self._model = library.TabPFNClassifier(random_state=seed, categorical_features_indices=list(categories) or None)

    @property
    def classes_(self) -> NDArray[np.int64]:
        """Labels of the training cases, sorted."""
        classes: NDArray[np.int64] = np.asarray(self._model.classes_)
        return classes

    def fit(self, x: Floats, labels: NDArray[np.int64]) -> "TabPFN":
        """Load the weights and keep the training cases.

        Raises:
            ValueError: If it cannot be fitted: without the weights, or to data beyond its limits.
        """
        self._attempt(self._model.fit, self._inputs.fit_transform(x, labels), labels)
        return self

    def predict_proba(self, x: Floats) -> Floats:
        """Shape ``(n, k)``, in the order of :attr:`classes_`.

        Raises:
            ValueError: As :meth:`fit`.
        """
        return np.asarray(self._attempt(self._model.predict_proba, self._inputs.transform(x)), dtype=np.float64)

    @staticmethod
    def _attempt(function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:  # the hub's client, the license check and torch each raise kinds of their own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(
                f"TabPFN cannot be fitted ({reason:.300}). It downloads its weights at its first use; without a "
                f"network, copy them to the folder that TABPFN_MODEL_CACHE_DIR names. {LICENSE}"
            ) from error
