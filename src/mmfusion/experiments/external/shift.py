"""Which columns, images and embeddings of another table are distributed otherwise than the run's own cases.

All tests are of one case per patient, and corrected together by Holm's method.
"""

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import pandas as pd

from mmfusion.data.frame import FrameDataset
from mmfusion.data.schema.categorical_column import CategoricalColumn
from mmfusion.data.schema.cells import texts
from mmfusion.data.schema.numerical_column import NumericalColumn
from mmfusion.experiments import case_embeddings
from mmfusion.experiments.external import image_traits
from mmfusion.experiments.external.training_cases import TrainingCases
from mmfusion.experiments.predictor import Predictor
from mmfusion.metrics.cases import one_per_group
from mmfusion.metrics.paired_tests import holm
from mmfusion.metrics.ranking import Floats
from mmfusion.metrics.two_sample import TwoSample, levels_differ, numbers_differ, vectors_differ

LEVEL = 0.05
"""Of the corrected probability, below which a difference counts as one."""
LEAST = 2
"""Fewest cases of a side that are tested."""

NEW = "(not in training)"
"""Stands for the levels that no training case had."""

_NO_TEST = TwoSample(np.nan, np.nan)
_SHOWN = 3
T = TypeVar("T", bound=Sized)
_Located: TypeAlias = tuple[FrameDataset, Path | None]
"""Cases, and the folder of their images."""


@dataclass(frozen=True)
class Shift:
    """A property of the cases on both sides.

    Attributes:
        kind: ``column``, ``missing``, ``image`` or ``embedding``.
        name: Of the column or trait.
        reference: What it is on the run's side, in short: mean and deviation, shares of levels, or a share of missing
            cells. A level of fewer than five training cases is not named.
        other: What it is in the table.
        n_reference: Cases with a value on the run's side, one per patient; 0 where it is unknown.
        n_other: Likewise in the table.
        effect: Distance of the distributions, from 0 to 1: Kolmogorov and Smirnov's for numbers, total variation for
            levels, the energy coefficient for embeddings. NaN where there is no test.
        p: Probability of the test; NaN where there is none.
        corrected: After Holm's correction over all tests.
    """

    kind: str
    name: str
    reference: str
    other: str
    n_reference: int
    n_other: int
    effect: float
    p: float
    corrected: float = np.nan

    @property
    def title(self) -> str:
        """What it is of, in words."""
        words = {"column": "column", "missing": "missing cells of", "image": "image", "embedding": "embedding of"}
        return f"{words[self.kind]} {self.name}"

    @property
    def shifted(self) -> bool:
        """Whether the corrected probability is below :data:`LEVEL`."""
        return bool(self.corrected < LEVEL)


def shifts(
    member: Predictor, own: TrainingCases, other: FrameDataset, root: Path | None, *, seed: int
) -> tuple[tuple[Shift, ...], tuple[str, ...]]:
    """All shifts.

    Args:
        member: The run's predictor; of an ensemble the first.
        own: The run's cases: columns and images are compared with its training set, embeddings with its test set,
            which the model was not fitted on.
        other: The table's cases.
        root: Folder of the table's images.
        seed: Of the choice of one case per patient, and of permutations.

    Returns:
        The shifts, columns first; and what could not be compared, one sentence each.
    """
    train = own.train.subset(one_per_group(own.train.groups, seed=seed))
    new = other.subset(one_per_group(other.groups, seed=seed))
    found: list[Shift] = []
    notes: list[str] = []
    reader = member.reader
    if reader.schema is not None and reader.table_name in member.seen:
        columns: list[NumericalColumn | CategoricalColumn] = [*reader.schema.numerical, *reader.schema.categorical]
        for column in columns:
            found += of_column(column, train.frame, new.frame, seed)
    for name in (name for name in member.seen if name in member.spec.images):
        if not bool(new.present(name).any()) or not bool(train.present(name).any()):
            notes.append(f"Images of {name!r} are not compared: one side has none.")
            continue
        found += _of_images(member, name, (train, own.root), (new, root), seed)
    try:
        test = own.test.subset(one_per_group(own.test.groups, seed=seed))
        found += _of_embeddings(member, test, new, seed)
    except ValueError as error:
        notes.append(f"Embeddings are not compared: {error}.")
    return corrected(found), tuple(notes)


def summaries(member: Predictor, other: FrameDataset, *, seed: int) -> tuple[Shift, ...]:
    """The numbers of the table next to the means and deviations that the run's folder has; without tests.

    Args:
        member: The run's predictor.
        other: The table's cases.
        seed: Of the choice of one case per patient.
    """
    schema, reader = member.reader.schema, member.reader
    if schema is None or reader.table_name not in member.seen:
        return ()
    frame = other.subset(one_per_group(other.groups, seed=seed)).frame
    found = []
    for column in schema.numerical:
        values = _numbers(column, frame)
        known = moments_text(column.mean, column.std)
        new = _moments(values) if len(values) else "none"
        found.append(Shift("column", column.name, known, new, 0, len(values), np.nan, np.nan))
    return tuple(found)


def corrected(found: Sequence[Shift]) -> tuple[Shift, ...]:
    """With Holm's correction over all of them."""
    p = holm([one.p for one in found]) if found else np.empty(0)
    return tuple(replace(one, corrected=float(value)) for one, value in zip(found, p, strict=True))


def of_column(
    column: NumericalColumn | CategoricalColumn, first: pd.DataFrame, second: pd.DataFrame, seed: int
) -> list[Shift]:
    """Values of a column, and its missing cells.

    Args:
        column: As it was fitted.
        first: Rows of the training set.
        second: Rows of the table; without the column all its cells are missing.
        seed: Of tests that draw.
    """
    if isinstance(column, NumericalColumn):
        numbers = [_numbers(column, frame) for frame in (first, second)]
        values = _compared("column", column.name, numbers, numbers_differ(*numbers), _moments)
    else:
        values = _of_levels("column", column.name, [_levels(column, frame) for frame in (first, second)], seed)
    sizes = (len(first), len(second))
    missing = [n - known for n, known in zip(sizes, (values.n_reference, values.n_other))]
    if not any(missing):
        return [values]
    test = levels_differ([missing[0], sizes[0] - missing[0]], [missing[1], sizes[1] - missing[1]], seed=seed)
    shares = [f"{gone / n:.0%}" for gone, n in zip(missing, sizes)]
    return [values, Shift("missing", column.name, shares[0], shares[1], *sizes, test.effect, test.p)]


def _numbers(column: NumericalColumn, frame: pd.DataFrame) -> Floats:
    if column.source not in frame.columns:
        return np.empty(0)
    values = replace(column, invalid="missing").values(frame)
    return values[~np.isnan(values)]


def _levels(column: CategoricalColumn, frame: pd.DataFrame) -> list[str]:
    """The levels of the cells that are not missing, in the run's spelling; what no training case had is one level."""
    if column.source not in frame.columns:
        return []
    cells, codes = texts(frame, column.source), column.encode(frame).tolist()
    return [
        column.categories[code] if code >= 0 else NEW
        for cell, code in zip(cells, codes)
        if cell is not None and (code >= 0 or cell.lower() not in column.missing)
    ]


def _of_levels(kind: str, name: str, sides: Sequence[Sequence[str]], seed: int) -> Shift:
    levels = sorted(set(sides[0]) | set(sides[1]))
    table = [[sum(value == level for value in side) for level in levels] for side in sides]

    def shown(values: Sequence[str]) -> str:
        share = {level: sum(value == level for value in values) / len(values) for level in levels}
        most = sorted(levels, key=lambda level: -share[level])[:_SHOWN]
        return ", ".join(f"{level}: {share[level]:.0%}" for level in most if share[level])

    return _compared(kind, name, sides, levels_differ(*table, seed=seed) if levels else _NO_TEST, shown)


def _of_images(member: Predictor, name: str, first: _Located, second: _Located, seed: int) -> list[Shift]:
    source = member.reader.images[name]
    found = []
    pixels = [image_traits.pixel_traits(dataset, name) for dataset, _ in (first, second)]
    for trait in pixels[0]:
        known = [side[trait][~np.isnan(side[trait])] for side in pixels]
        found.append(_compared("image", f"{name}: {trait}", known, numbers_differ(*known), _moments))
    files = [image_traits.file_traits(dataset, source, root) for dataset, root in (first, second)]
    if not all(any(side) for side in files):
        return found  # as of images that were generated
    for trait in dict.fromkeys(trait for side in files for of_file in side for trait in of_file):
        values = [[of_file.get(trait) for of_file in side if of_file] for side in files]
        if all(isinstance(value, float | None) for side in values for value in side):
            numbers = [np.array([value for value in side if value is not None], dtype=np.float64) for side in values]
            found.append(_compared("image", f"{name}: {trait}", numbers, numbers_differ(*numbers), _moments))
        else:
            levels = [["none" if value is None else str(value) for value in side] for side in values]
            found.append(_of_levels("image", f"{name}: {trait}", levels, seed))
    return found


def _of_embeddings(member: Predictor, first: FrameDataset, second: FrameDataset, seed: int) -> list[Shift]:
    tables = [case_embeddings.of_dataset(member, dataset) for dataset in (first, second)]
    found = []
    for name in dict.fromkeys(tables[0].columns.get_level_values(0)):
        if name not in tables[1]:
            continue
        vectors = [table[name].to_numpy(dtype=np.float64) for table in tables]
        known = [x[np.isfinite(x).all(axis=1)] for x in vectors]
        found.append(_compared("embedding", str(name), known, vectors_differ(*known, seed=seed), lambda _: ""))
    return found


def _compared(kind: str, name: str, sides: Sequence[T], test: TwoSample, shown: Callable[[T], str]) -> Shift:
    n_reference, n_other = (len(side) for side in sides)
    if min(n_reference, n_other) < LEAST:
        test = _NO_TEST
    reference, other = (shown(side) if len(side) else "none" for side in sides)
    return Shift(kind, name, reference, other, n_reference, n_other, test.effect, test.p)


def _moments(values: Floats) -> str:
    return moments_text(float(values.mean()), float(values.std()))


def moments_text(mean: float, deviation: float) -> str:
    """``0.260 ± 0.065``: the mean to the digits of its deviation, of which two count; one value without it."""
    if not np.isfinite([mean, deviation]).all() or deviation <= 1e-9 * max(abs(mean), 1e-300):
        return f"{mean:.3g}"
    digits = max(0, 1 - int(np.floor(np.log10(deviation))))
    if digits > 6 or abs(mean) >= 1e6:
        return f"{mean:.3g} ± {deviation:.2g}"
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"
