"""Cases of another table that resemble training cases too much to be new ones."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfusion.data.checks.image_files import small_grey
from mmfusion.data.checks.similarity import SIDE, Pair, Thumbnails, similar_pairs
from mmfusion.data.frame import FrameDataset
from mmfusion.data.reader import CaseReader
from mmfusion.experiments import folder
from mmfusion.experiments.external.training_cases import TrainingCases
from mmfusion.experiments.predictor import Predictor

TWINS = 0.01
"""Equal rows say nothing where more training cases than this share have a twin of another patient."""

_AT_ONCE = 64


@dataclass(frozen=True)
class Duplicate:
    """A case of the table and the training case that it resembles.

    Attributes:
        case: Its name.
        training: Name of the training case, or of the patient.
        what: What they share.
    """

    case: str
    training: str
    what: str


def shared_names(place: Path, reader: CaseReader, frame: pd.DataFrame) -> list[Duplicate]:
    """Cases with the name, or of a patient with the name, of a training case; from the run's folder alone.

    Args:
        place: The run's folder; a shared one has no names.
        reader: Names the columns of both; where the run or the table has none, names are numbers of rows and not
            compared.
        frame: The table.
    """
    path = place / folder.SPLITS
    if not path.is_file():
        return []
    splits = pd.read_csv(path, dtype=str, keep_default_na=False)
    train = splits[splits["part"] == "train"]
    ids, groups = reader.names(frame)
    found = []
    for column, names, known, what in (
        (reader.id_column, ids, set(train["id"]), "name"),
        (reader.group_column, groups, set(train["group"]), "name of the patient"),
    ):
        if column is not None and column in frame.columns:
            found += [Duplicate(case, name, what) for case, name in zip(ids, names) if name in known]
    return found


def duplicates(member: Predictor, own: TrainingCases, other: FrameDataset) -> tuple[list[Duplicate], list[str]]:
    """Cases with an image or a whole row of a training case.

    Images are the same where their pixels at the model's size are, and nearly the same, mirrored and rotated copies
    included, as in :mod:`mmfusion.data.checks.similarity`.

    Args:
        member: The run's predictor.
        own: The run's cases.
        other: The table's cases.

    Returns:
        The duplicates; and what could not be compared, one sentence each.
    """
    found: list[Duplicate] = []
    notes: list[str] = []
    for name in (name for name in member.seen if name in member.spec.images):
        found += _images(name, own.train, other)
    table = member.reader.table_name
    if table in member.seen and table in member.spec.tables:
        rows = _rows(own.train, table)
        by_row: dict[bytes, list[int]] = defaultdict(list)
        for position, row in enumerate(rows):
            if row is not None:
                by_row[row].append(position)
        groups = own.train.groups
        twins = sum(len(at) for at in by_row.values() if len({groups[position] for position in at}) > 1)
        if twins > TWINS * len(rows):
            notes.append(
                f"Equal rows of the table are not reported: {twins / len(rows):.0%} of the training cases have the row "
                "of another patient."
            )
        else:
            ids, own_ids = other.ids, own.train.ids
            found += [
                Duplicate(ids[position], own_ids[by_row[row][0]], "all columns that the model reads")
                for position, row in enumerate(_rows(other, table))
                if row is not None and row in by_row
            ]
    return found, notes


def _images(name: str, train: FrameDataset, other: FrameDataset) -> list[Duplicate]:
    sides = [_Side.of(dataset, name) for dataset in (train, other)]
    n_train = len(sides[0].cases)
    if not all(len(side.cases) for side in sides):
        return []
    pictures = np.concatenate([side.pictures for side in sides])
    best: dict[int, tuple[Pair, int]] = {}
    for pair in similar_pairs(pictures):
        if not pair.first < n_train <= pair.second:
            continue
        case = int(sides[1].cases[pair.second - n_train])
        if case not in best or pair.correlation > best[case][0].correlation:
            best[case] = pair, pair.second - n_train
    found = []
    for case, (pair, second) in best.items():
        own = int(sides[0].cases[pair.first])
        same = torch.equal(sides[1].pixels(second), sides[0].pixels(pair.first))
        turned = ", mirrored or rotated" * pair.turned
        what = f"the image {name}" if same else f"nearly the image {name}{turned}, correlation {pair.correlation:.2f}"
        found.append(Duplicate(other.ids[case], train.ids[own], what))
    return found


@dataclass(frozen=True)
class _Side:
    """All images of a dataset's cases.

    Attributes:
        dataset: The cases.
        name: Of the image modality.
        cases: Position of each image's case.
        places: Position of each image among its case's.
        pictures: Small grey pictures of the images as they are stored.
    """

    dataset: FrameDataset
    name: str
    cases: NDArray[np.int64]
    places: NDArray[np.int64]
    pictures: Thumbnails

    @classmethod
    def of(cls, dataset: FrameDataset, name: str) -> "_Side":
        rows = np.flatnonzero(dataset.present(name).numpy())
        some = dataset.subset(rows)
        sizes = some.n_images(name).numpy()
        blocks = (some.pixels(name, slice(at, at + _AT_ONCE)).numpy() for at in range(0, len(rows), _AT_ONCE))
        pictures = [small_grey(image) for block in blocks for image in block]
        return cls(
            dataset,
            name,
            np.repeat(rows, sizes),
            np.concatenate([np.arange(size) for size in sizes.tolist()] or [np.zeros(0, np.int64)]),
            np.stack(pictures) if pictures else np.zeros((0, SIDE, SIDE), np.uint8),
        )

    def pixels(self, image: int) -> torch.Tensor:
        """One image as it is stored."""
        case = int(self.cases[image])
        return self.dataset.pixels(self.name, slice(case, case + 1))[self.places[image]]


def _rows(dataset: FrameDataset, table: str) -> list[bytes | None]:
    """Bytes of each row as the model receives it; None where all cells are missing, or the case lacks the table."""
    cells, present = dataset.cells(table), dataset.present(table).tolist()
    numerical = cells.numerical.nan_to_num(nan=float("inf")).numpy()
    categorical = cells.categorical.numpy()
    empty = np.isinf(numerical).all(axis=1) & (categorical < 0).all(axis=1)
    return [
        None if not is_present or is_empty else number.tobytes() + code.tobytes()
        for number, code, is_present, is_empty in zip(numerical, categorical, present, empty.tolist())
    ]
