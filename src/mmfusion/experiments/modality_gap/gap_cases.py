"""The cases whose embeddings are compared: a run's own test set, or another table."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.frame import FrameDataset
from mmfusion.experiments.external.training_cases import reach
from mmfusion.experiments.external.true_labels import read_labels
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor, cases_of

OWN = "the run's test set"


@dataclass(frozen=True)
class GapCases:
    """Cases, of which more than are wanted were drawn at random.

    Attributes:
        name: Where they are from.
        dataset: As the model takes them.
        labels: Shape ``(n,)``, class indices; -1 where a case has no label of the run's classes.
        classes: Their names.
        n_all: Cases that there were.
    """

    name: str
    dataset: FrameDataset
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    n_all: int

    @property
    def groups(self) -> Sequence[str]:
        """The patient or lesion of each case."""
        return self.dataset.groups

    @property
    def has_labels(self) -> bool:
        """Whether any case has a label."""
        return bool((self.labels >= 0).any())


def gap_cases(
    predictor: Predictor,
    place: Path,
    table: pd.DataFrame | str | Path | None,
    image_root: str | Path | None,
    missing_images: Literal["error", "absent"],
    *,
    n_cases: int,
    seed: int,
) -> GapCases:
    """Read the cases.

    Args:
        predictor: Of the run.
        place: Its folder.
        table: One row per case, with or without labels; None: the run's own test set.
        image_root: As for predictions; with None for a table, where the run's dataset is now if it was moved.
        missing_images: As for predictions.
        n_cases: The most; of more this many are drawn.
        seed: Of the drawing.

    Raises:
        ValueError: If the run's own cases cannot be read, or as for predictions.
        FileNotFoundError: As for predictions.
    """
    if table is None:
        found = reach(place, image_root)
        if isinstance(found, str) or not len(found.test):
            why = found if isinstance(found, str) else "it has no test set"
            raise ValueError(f"the test cases of {place} are not at hand: {why}. Give cases by table=...")
        name, dataset = OWN, found.test
        labels = dataset.labels(predictor.target).numpy()
    else:
        frame, root = cases_of(table, image_root)
        name = "the table" if isinstance(table, pd.DataFrame) else Path(table).name
        dataset = predictor.read(frame, root, missing_images)
        target = predictor.reader.targets[predictor.target]
        labels = np.full(len(frame), -1, dtype=np.int64)
        if target.column in frame.columns:
            labels = read_labels(frame, target).codes
    n = len(dataset)
    if n > n_cases:
        rows = np.sort(np.random.default_rng(seed).permutation(n)[:n_cases])
        dataset, labels = dataset.subset(rows.tolist()), labels[rows]
    return GapCases(name, dataset, labels, class_names(predictor.kind), n)
