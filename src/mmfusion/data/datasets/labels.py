"""Labels of a table: labelled rows and classes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.datasets.faults import Faults
from mmfusion.data.reader import TargetColumn
from mmfusion.data.schema.cells import distinct, key, one_column, parse_numbers
from mmfusion.data.schema.known_orders import in_order
from mmfusion.data.splits import SETS, Split

MOST_CLASSES = 30

Unlabelled = Literal["error", "drop"]


def read_labels(
    frame: pd.DataFrame,
    label: str,
    classes: Sequence[str | int | float] | None,
    unlabelled: Unlabelled,
    faults: Faults,
) -> tuple[pd.DataFrame, TargetColumn | None, int]:
    """The rows to use, the target, and the number of rows that are left out since they have no label.

    Args:
        frame: The table.
        label: The column of the labels.
        classes: The classes in order; None: inferred, see :func:`target_of`.
        unlabelled: Whether rows without a label are a fault, or left out.
        faults: Receives the faults of the column.
    """
    if label not in frame.columns:
        return frame, None, 0
    target, left_out = None, 0
    bare = distinct(one_column(frame, label))[0] < 0
    if bare.all():
        faults.append(f"label column {label!r} is empty in every row")
        return frame, None, 0
    if bare.any() and unlabelled == "error":
        rows = ", ".join(map(str, frame.index[bare][:10]))
        faults.append(
            f"label column {label!r} is empty in {int(bare.sum())} row(s): {rows}; label or remove them, or leave "
            "them out with unlabelled='drop'"
        )
    labelled = frame[~bare]
    if unlabelled == "drop":
        frame, left_out = labelled, int(bare.sum())
    with faults.caught():
        target = target_of(labelled, label, classes)
        faults += target.faults(labelled)
        known = set(target.codes(labelled).tolist())
        if absent := [name for code, name in enumerate(target.classes) if code not in known]:
            faults.append(f"label column {label!r} has no row of class {', '.join(map(repr, absent))}: correct classes")
    return frame, target, left_out


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
    """One note per class that a set lacks; a set without any case is no such set."""
    return [
        f"The {set_name} set has no case of class {name!r}, of which there are {int((labels == code).sum())} in all."
        for set_name, rows in zip(SETS, split)
        for code, name in enumerate(target.classes)
        if len(rows) and not (labels[rows] == code).any()
    ]
