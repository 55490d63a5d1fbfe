"""Labels of a table: the rows that have one, and the classes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.reader import TargetColumn
from mmfusion.data.schema.cells import distinct, key, one_column, parse_numbers
from mmfusion.data.schema.known_orders import in_order
from mmfusion.data.splits import SETS, Split

MOST_CLASSES = 30

Unlabelled = Literal["error", "drop"]


def labelled_rows(frame: pd.DataFrame, label: str, unlabelled: str) -> tuple[pd.DataFrame, int]:
    """The rows that have a label, and how many have none.

    Args:
        frame: The table.
        label: The column of the labels.
        unlabelled: ``"error"`` or ``"drop"``.

    Raises:
        ValueError: If a row has none and that is an error, or no row has one.
    """
    if unlabelled not in ("error", "drop"):
        raise ValueError(f"unlabelled expects 'error' or 'drop', got {unlabelled!r}")
    bare = distinct(one_column(frame, label))[0] < 0
    if not bare.any():
        return frame, 0
    if unlabelled == "error":
        rows = ", ".join(map(str, frame.index[bare][:10]))
        raise ValueError(
            f"label column {label!r} is empty in {int(bare.sum())} row(s): {rows}; label them, remove them, or leave "
            "them out by unlabelled='drop'"
        )
    if bare.all():
        raise ValueError(f"label column {label!r} is empty in every row")
    return frame[~bare], int(bare.sum())


def target_of(frame: pd.DataFrame, label: str, classes: Sequence[str | int | float] | None) -> TargetColumn:
    """The classes of a column of labels, spelled as most rows spell them.

    Args:
        frame: Rows that have a label.
        label: The column.
        classes: In their order; None: numbers ascend, known scales rise, else by the alphabet.

    Raises:
        ValueError: If the column has one class only, or holds no classes.
    """
    if classes is not None:
        return TargetColumn(label, tuple(str(name) for name in classes))
    codes, found = distinct(one_column(frame, label))
    if len(found) < 2:
        raise ValueError(
            f"label column {label!r} has one class only, {found[0]!r}: there is nothing to tell apart, at least two "
            "classes are needed"
        )
    values = parse_numbers(found)
    if not np.isnan(values).any() and (len(found) > MOST_CLASSES or (values != np.round(values)).any()):
        raise ValueError(
            f"label column {label!r} holds {len(found)} numbers from {values.min():g} to {values.max():g}, not "
            "classes: make classes of them in a column of its own, or name another column"
        )
    spelt: dict[str, list[str]] = {}
    counts = np.bincount(codes, minlength=len(found))
    for i in np.argsort(-counts, kind="stable"):
        spelt.setdefault(key(found[i]), []).append(found[i])
    if len(spelt) > MOST_CLASSES:
        raise ValueError(
            f"label column {label!r} has {len(spelt)} different values in {len(frame)} rows, such as {found[0]!r}: "
            f"that is no column of classes. If it is, give classes"
        )
    # Of several spellings of one class, its name is the one that most rows have.
    names = [spellings[0] for spellings in spelt.values()]
    aliases = {other: spellings[0] for spellings in spelt.values() for other in spellings[1:]}
    return TargetColumn(label, in_order(names), aliases)


def lacking_classes(target: TargetColumn, labels: NDArray[np.int64], split: Split) -> list[str]:
    """A note for each class that a part does not have."""
    return [
        f"No case of class {name!r} is in the {part} part; it has {int((labels == code).sum())} in all."
        for part, rows in zip(SETS, split)
        for code, name in enumerate(target.classes)
        if not (labels[rows] == code).any()
    ]
