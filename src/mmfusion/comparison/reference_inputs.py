"""Features of one dataset for its reference rows, each computed when it is first needed and kept for all seeds."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.reference_choice import Reference
from mmfusion.comparison.reference_encoder import Encoder
from mmfusion.data.bundle import DataBundle
from mmfusion.experiments.embeddings import Embeddings
from mmfusion.experiments.reference_features import EMBEDDINGS, TABLE, Layout, combined, table_of
from mmfusion.experiments.reference_learners import LEARNERS, Learner, fit_and_predict, splits
from mmfusion.experiments.reference_models import REFERENCES, table_folds, training_labels
from mmfusion.metrics.ranking import Floats
from mmfusion.spec import Classes, Columns
from mmfusion.tokens import Table
from mmfusion.training.reporter import Reporter, Silent


class Inputs:
    """Table and embeddings of a dataset's sets.

    Args:
        bundle: The dataset.
        encoder: Of the embeddings; None: no row may see any.
        reporter: Receives the progress of the encoding.

    Attributes:
        bundle: The dataset.
        embedding_seconds: What the encoding took; 0 before.
    """

    def __init__(self, bundle: DataBundle, encoder: Encoder | None = None, reporter: Reporter | None = None) -> None:
        self.bundle = bundle
        self.embedding_seconds = 0.0
        self._encoder, self._reporter = encoder, reporter or Silent()
        self._sets = {"train": bundle.train, "validation": bundle.validation, "test": bundle.test}
        self._tables: dict[str, tuple[Columns, Table]] = {}
        self._embeddings: dict[str, Embeddings] = {}

    def learner(
        self, reference: Reference, target: str, kind: Classes, *, seed: int
    ) -> tuple[Learner, dict[str, Floats], NDArray[np.int64]]:
        """What is fitted, and to what.

        Args:
            reference: The row.
            target: Name of the target.
            kind: Its classes.
            seed: Of the folds and the learner.

        Returns:
            The learner, not fitted; the features of each set by its name; the training labels.

        Raises:
            ValueError: If there are too few training cases, no single table, or no usable embedding.
        """
        train = self.bundle.train
        labels = training_labels(train, target, kind)
        layout, features = self._features(reference.inputs)
        if reference.inputs == (TABLE,) and reference.learner in REFERENCES:
            columns, _ = self._table("train")
            folds = table_folds(train, labels, seed=seed)
            return Learner(REFERENCES[reference.learner](columns, seed=seed, folds=folds), {}), features, labels
        folds = splits(labels, train.groups, seed=seed)
        return LEARNERS[reference.learner](layout, folds, seed=seed), features, labels

    @staticmethod
    def predict(
        learner: Learner, features: Mapping[str, Floats], labels: NDArray[np.int64], kind: Classes
    ) -> dict[str, Floats]:
        """Probabilities of the validation and test set, each of shape ``(n, k)``, of a learner fitted to training."""
        held_out = {name: x for name, x in features.items() if name != "train"}
        return fit_and_predict(learner, features["train"], labels, held_out, kind.n)

    def _features(self, inputs: tuple[str, ...]) -> tuple[Layout, dict[str, Floats]]:
        layout, features = Layout(), dict[str, Floats]()
        for name in self._sets:
            table = self._table(name) if TABLE in inputs else None
            layout, features[name] = combined(table, self._embedded(name) if EMBEDDINGS in inputs else None)
        return layout, features

    def _table(self, name: str) -> tuple[Columns, Table]:
        if name not in self._tables:
            self._tables[name] = table_of(self._sets[name])
        return self._tables[name]

    def _embedded(self, name: str) -> Embeddings:
        if not self._embeddings:
            if self._encoder is None:
                raise ValueError("embeddings need an encoder")
            self._embeddings, self.embedding_seconds = self._encoder.embeddings(self.bundle, self._reporter)
        return self._embeddings[name]
