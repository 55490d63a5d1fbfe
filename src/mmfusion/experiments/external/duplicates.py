"""Cases of another table that resemble training cases too much to be new ones."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfusion.data.frame import FrameDataset, as_floats
from mmfusion.data.images.likeness import BITS, Hashes, hashes, nearest
from mmfusion.data.reader import CaseReader
from mmfusion.experiments import folder
from mmfusion.experiments.external.training_cases import TrainingCases
from mmfusion.experiments.predictor import Predictor

MOST_BITS = 12
"""Bits of an image's hash in which a near duplicate differs at most."""
LEAST_CORRELATION = 0.98
"""Of the thumbnails of near duplicates."""
CHANCE = 0.005
"""A near duplicate is closer than this share of the training images is to its nearest one of another patient."""
TWINS = 0.01
"""Equal rows say nothing where more training cases than this share have a twin of another patient."""

_AT_ONCE, _COMPARED = 64, 2000


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

    Images are the same where their pixels at the model's size are, and nearly the same where their hashes differ in a
    few bits, fewer than between training images of different patients, and small grey copies of them agree. Mirrored
    or turned copies are not found.

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
    sides = [(dataset, np.flatnonzero(dataset.present(name).numpy())) for dataset in (train, other)]
    known, new = (_hashed(dataset, name, rows) for dataset, rows in sides)
    if not len(known.signs) or not len(new.signs):
        return []
    at, bits = nearest(new, known)
    limit = min(MOST_BITS, _by_chance(known, [train.groups[row] for row in sides[0][1].tolist()]) - 1)
    alike = (new.thumbnails * known.thumbnails[torch.from_numpy(at)]).sum(dim=1).numpy()
    found = []
    for i in np.flatnonzero((bits <= MOST_BITS) & ~new.flat).tolist():
        row, own = int(sides[1][1][i]), int(sides[0][1][at[i]])
        same = torch.equal(other.pixels(name, slice(row, row + 1)), train.pixels(name, slice(own, own + 1)))
        if same or (bits[i] <= limit and alike[i] >= LEAST_CORRELATION):
            what = f"the image {name}" if same else f"nearly the image {name} ({bits[i]} of {BITS} bits differ)"
            found.append(Duplicate(other.ids[row], train.ids[own], what))
    return found


def _by_chance(known: Hashes, groups: Sequence[str]) -> int:
    """Bits in which few training images differ from the nearest one of another patient."""
    some = np.linspace(0, len(groups) - 1, min(len(groups), _COMPARED)).round().astype(int)
    number = torch.from_numpy(np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1].astype(np.int64))
    chosen = torch.from_numpy(some)
    compared = Hashes(known.signs[chosen], known.thumbnails[chosen])
    _, bits = nearest(compared, known, torch.cat([number[chosen], number]))
    return int(np.quantile(bits, CHANCE, method="lower"))


def _hashed(dataset: FrameDataset, name: str, rows: NDArray[np.intp]) -> Hashes:
    cases = dataset.subset(rows)
    parts = [
        hashes(as_floats(cases.pixels(name, slice(start, start + _AT_ONCE)))) for start in range(0, len(rows), _AT_ONCE)
    ]
    if not parts:
        return Hashes(torch.empty(0, BITS), torch.empty(0, 1))
    return Hashes(torch.cat([part.signs for part in parts]), torch.cat([part.thumbnails for part in parts]))


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
