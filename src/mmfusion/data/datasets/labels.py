"""Labels of a table: labelled rows and classes."""

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
    """The rows that have a label, and the number of those that have none.

    Args:
        frame: The table.
        label: The column of the labels.
        unlabelled: ``"error"`` or ``"drop"``.

    Raises:
        ValueError: If a row has no label and that is an error, or no row has one.
    """
    if unlabelled not in ("error", "drop"):
        raise ValueError(f"unlabelled expects 'error' or 'drop', got {unlabelled!r}")
    bare = distinct(one_column(frame, label))[0] < 0
    if not bare.any():
        return frame, 0
    if unlabelled == "error":
        rows = ", ".join(map(str, frame.index[bare][:10]))
        raise ValueError(
            f"label column {label!r} is empty in {int(bare.sum())} row(s): {rows}; label or remove them, or leave "
            "them out (--set data.unlabelled=drop, unlabelled='drop' in Python)"
        )
    if bare.all():
        raise ValueError(f"label column {label!r} is empty in every row")
    return frame[~bare], int(bare.sum())


def target_of(frame: pd.DataFrame, label: str, classes: Sequence[str | int | float] | None) -> TargetColumn:
    """The classes of a column of labels, in their most frequent spelling.

    Args:
        frame: Rows that have a label.
        label: The column.
        classes: The classes in order; None: ascending numbers, known scales, else alphabetical.

    Raises:
        ValueError: If the column has only one class, or too many values to be classes.
    """
    if classes is not None:
        return TargetColumn(label, tuple(str(name) for name in classes))
    codes, texts = distinct(one_column(frame, label))
    if len(texts) < 2:
        raise ValueError(f"label column {label!r} has only one class, {texts[0]!r}: expected at least two classes")
    values = parse_numbers(texts)
    if not np.isnan(values).any() and (len(texts) > MOST_CLASSES or (values != np.round(values)).any()):
        raise ValueError(
            f"label column {label!r} holds {len(texts)} numbers from {values.min():g} to {values.max():g}, not "
            "classes: add a column with classes of these numbers, or choose another column"
        )
    spellings_of: dict[str, list[str]] = {}
    counts = np.bincount(codes, minlength=len(texts))
    for i in np.argsort(-counts, kind="stable"):
        spellings_of.setdefault(key(texts[i]), []).append(texts[i])
    if len(spellings_of) > MOST_CLASSES:
        raise ValueError(
            f"label column {label!r} has {len(spellings_of)} different values in {len(frame)} rows, such as "
            f"{texts[0]!r}: too many for classes. If they are classes, give them as classes"
        )
    # A class is named by its most frequent spelling.
    names = [spellings[0] for spellings in spellings_of.values()]
    aliases = {other: spellings[0] for spellings in spellings_of.values() for other in spellings[1:]}
    return TargetColumn(label, in_order(names), aliases)


def lacking_classes(target: TargetColumn, labels: NDArray[np.int64], split: Split) -> list[str]:
    """One note per class that a set lacks."""
    return [
        f"The {set_name} set has no case of class {name!r}, of which there are {int((labels == code).sum())} in all."
        for set_name, rows in zip(SETS, split)
        for code, name in enumerate(target.classes)
        if not (labels[rows] == code).any()
    ]
