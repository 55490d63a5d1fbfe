"""The cases that an explanation chooses from: a run's own test set, or another table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfusion.data.checks.sites import names_a_site
from mmfusion.data.frame import FrameDataset
from mmfusion.data.schema.cells import distinct, one_column
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.experiments import held_out_cases
from mmfusion.experiments.external.training_cases import TrainingCases
from mmfusion.experiments.external.true_labels import read_labels
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor, cases_of
from mmfusion.metrics.ranking import Floats
from mmfusion.training import inference, memory
from mmfusion.training.arithmetic import arithmetic

OWN = "the run's test set"
_MOST_VALUES = 12
"""Groups of a column of scanners or sites; more are no subgroups."""


@dataclass(frozen=True)
class CaseSet:
    """Cases with what the run says of them.

    Attributes:
        name: Of the table, or :data:`OWN`.
        dataset: The cases as the model takes them.
        root: Folder of their images; None: the working folder.
        labels: Shape ``(n,)``, class indices; -1 where a case has no label of the run's classes.
        probabilities: Shape ``(n, k)``, as the model gives them; not finite where its output is not.
        groups: By property, the subgroup of each case: the run's subgroups, and columns of scanners and sites.
        notes: Sentences on what was read.
    """

    name: str
    dataset: FrameDataset
    root: Path | None
    labels: NDArray[np.int64]
    probabilities: Floats
    groups: Mapping[str, Sequence[str]]
    notes: tuple[str, ...] = ()

    @property
    def losses(self) -> Floats | None:
        """Minus the log of each case's own class's probability; NaN where it is unknown; None without labels."""
        if (self.labels < 0).all():
            return None
        rows = np.arange(len(self.labels))
        p = np.where(self.labels >= 0, self.probabilities[rows, np.maximum(self.labels, 0)], np.nan)
        return np.asarray(-np.log(np.maximum(p, np.finfo(np.float64).tiny)))


def of_test_set(predictor: Predictor, own: TrainingCases, place: Path) -> CaseSet:
    """A run's own test set; the probabilities are those that it stored, if its folder has them.

    Args:
        predictor: Of the run.
        own: Its cases, read again.
        place: Its folder, or a file of weights in it.
    """
    dataset = own.test
    stored = _stored(place, class_names(predictor.kind), dataset.ids)
    p = probabilities(predictor, dataset) if stored is None else stored
    labels = dataset.labels(predictor.target).numpy()
    frame = dataset.frame
    return CaseSet(OWN, dataset, own.root, labels, p, _groups(predictor, own.subgroups, frame))


def of_table(
    predictor: Predictor,
    table: pd.DataFrame | str | Path,
    image_root: str | Path | None,
    missing_images: Literal["error", "absent"],
    subgroups: Sequence[Subgroup],
) -> CaseSet:
    """The cases of another table; those without a label of the run's classes are explained as well.

    Args:
        predictor: Of the run.
        table: A frame or a file.
        image_root: As for predictions.
        missing_images: As for predictions.
        subgroups: The run's, if they are known.

    Raises:
        ValueError: As for predictions.
        FileNotFoundError: As for predictions.
    """
    frame, root = cases_of(table, image_root)
    dataset = predictor.read(frame, root, missing_images)
    target = predictor.reader.targets[predictor.target]
    labels: NDArray[np.int64] = np.full(len(frame), -1, dtype=np.int64)
    notes: tuple[str, ...] = ()
    if target.column in frame.columns:
        found = read_labels(frame, target)
        labels, notes = found.codes, tuple(found.sentences())
    name = "the table" if isinstance(table, pd.DataFrame) else Path(table).name
    groups = _groups(predictor, subgroups, frame)
    return CaseSet(name, dataset, root, labels, probabilities(predictor, dataset), groups, notes)


def probabilities(predictor: Predictor, dataset: FrameDataset) -> Floats:
    """What the model gives for cases, shape ``(n, k)``."""
    batches = inference.in_order(dataset, predictor.batch_size, workers=0, device=predictor.device)
    smaller = f"a smaller batch_size of the predictor (it is {predictor.batch_size})"
    with memory.guard("predicting", predictor.device, smaller), arithmetic(predictor.device):
        return inference.predict(predictor.model, batches, predictor.target, predictor.device)


def drawn(n: int, most: int, seed: int) -> list[int]:
    """Positions of some of n cases, in order; all where they are no more."""
    if n <= most:
        return list(range(n))
    generator = torch.Generator().manual_seed(seed)
    return sorted(torch.randperm(n, generator=generator)[:most].tolist())


def _stored(place: Path, classes: Sequence[str], ids: Sequence[str]) -> Floats | None:
    """Of ``predictions.csv``, by the cases' names; None if it has other cases, or other weights may be meant."""
    held_out = held_out_cases.read(place) if place.is_dir() else None
    if held_out is None or held_out.classes != tuple(classes) or "test" not in held_out.parts:
        return None
    test = held_out.parts["test"]
    row = {name: i for i, name in enumerate(test.ids.tolist())}
    if set(row) != set(ids):
        return None
    return test.probabilities[[row[name] for name in ids]]


def _groups(predictor: Predictor, subgroups: Sequence[Subgroup], frame: pd.DataFrame) -> dict[str, list[str]]:
    found = {one.name: one.of(frame) for one in subgroups if one.column in frame.columns}
    reader = predictor.reader
    taken = {reader.id_column, reader.group_column, *(one.column for one in subgroups)}
    taken |= {target.column for target in reader.targets.values()}
    for column in frame.columns:
        if column in taken or not isinstance(column, str) or not names_a_site(column):
            continue
        _, values = distinct(one_column(frame, column))
        if 2 <= len(values) <= _MOST_VALUES and column not in found:
            found[column] = Subgroup(column, column).of(frame)
    return found
