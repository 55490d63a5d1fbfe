"""Columns that are features: inferred or read from a file, and what is wrong or strange in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.datasets.faults import Faults
from mmfusion.data.schema.cells import require_columns
from mmfusion.data.schema.inference import Override, infer_columns
from mmfusion.data.schema.table_schema import TableSchema


def fitted_schema(
    frame: pd.DataFrame,
    train: NDArray[np.int64],
    others: Sequence[str],
    overrides: Mapping[str, Override],
    file: Path | str | None,
    has_images: bool,
) -> TableSchema | None:
    """The fitted columns of a table; None where images are all that there is.

    Args:
        frame: The table.
        train: Positions of the training rows.
        others: Columns that are no features.
        overrides: By column, what is known better than it can be told.
        file: Where the columns are read from; None: they are inferred.
        has_images: Whether the table may do without features.

    Raises:
        ValueError: If no column is left, or cells do not fit.
    """
    if file is not None:
        return TableSchema.load(file)
    # By all rows, without labels: all folds of a comparison have the same features.
    decisions = infer_columns(frame, overrides, drop=others)
    if has_images and all(one.kind in ("text", "drop") for one in decisions):
        return None
    return TableSchema.fit_decided(frame, decisions, train=train)


def cell_faults(frame: pd.DataFrame, schema: TableSchema) -> list[str]:
    """A line for the columns that a schema file has and the table lacks, and for each with cells that do not fit."""
    faults = Faults()
    with faults.caught():
        require_columns(frame, schema.sources)
    for column in schema.numerical:
        if (column.column or column.name) in frame.columns:
            with faults.caught():
                column.values(frame)
    return faults


def unseen_notes(schema: TableSchema | None, frame: pd.DataFrame) -> list[str]:
    """A note for each column with values that no training row has, or too few."""
    if schema is None:
        return []
    rare = {column.name for column in schema.categorical if column.rare}
    return [
        f"Column {name!r} has {len(values)} value(s) "
        + (
            "of too few training rows to be named, or of none: they count as one, the last category."
            if name in rare
            else "that no training row has: they count as missing."
        )
        for name, values in schema.unseen(frame).items()
    ]
