"""Cases of another table that resemble training cases too much to be new ones."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mmfusion.data.checks.image_files import small_grey
from mmfusion.data.checks.similarity import Pair, Thumbnails, similar_pairs
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
    sides = [(dataset, np.flatnonzero(dataset.present(name).numpy()).tolist()) for dataset in (train, other)]
    n_train = len(sides[0][1])
    if not all(rows for _, rows in sides):
        return []
    pictures = np.concatenate([_small(dataset, name, rows) for dataset, rows in sides])
    best: dict[int, Pair] = {}
    for pair in similar_pairs(pictures):
        known = best.get(pair.second)
        if pair.first < n_train <= pair.second and (known is None or pair.correlation > known.correlation):
            best[pair.second] = pair
    found = []
    for second, pair in best.items():
        own, row = sides[0][1][pair.first], sides[1][1][second - n_train]
        same = torch.equal(other.pixels(name, slice(row, row + 1)), train.pixels(name, slice(own, own + 1)))
        turned = ", mirrored or rotated" * pair.turned
        what = f"the image {name}" if same else f"nearly the image {name}{turned}, correlation {pair.correlation:.2f}"
        found.append(Duplicate(other.ids[row], train.ids[own], what))
    return found


def _small(dataset: FrameDataset, name: str, rows: Sequence[int]) -> Thumbnails:
    """Small grey pictures of images as they are stored."""
    cases = dataset.subset(np.array(rows))
    blocks = (cases.pixels(name, slice(at, at + _AT_ONCE)).numpy() for at in range(0, len(rows), _AT_ONCE))
    return np.stack([small_grey(image) for block in blocks for image in block])


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
