"""Feature columns of a table: inferred or read from a file, with faults and notes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.datasets.faults import Faults
from mmfusion.data.schema.cells import require_columns
from mmfusion.data.schema.inference import Override, infer_columns
from mmfusion.data.schema.table_schema import TableSchema


def feature_options(
    frame: pd.DataFrame,
    not_features: Mapping[str, str],
    columns: Sequence[str] | None,
    overrides: Mapping[str, Override],
) -> tuple[dict[str, str], dict[str, Override]]:
    """The table's columns that are not features, and the overrides of the others.

    Args:
        frame: The table.
        not_features: Columns that have another role, each with the reason.
        columns: The only columns that may be features; None: all others.
        overrides: By column, a kind or options that are not inferred.
    """
    others = [name for name in frame.columns if columns is not None and name not in columns]
    reasons = {**dict.fromkeys(others, "is not among the chosen columns"), **not_features}
    left_out = {name: reason for name, reason in reasons.items() if name in frame.columns}
    features = set(frame.columns) - set(left_out)
    return left_out, {name: override for name, override in overrides.items() if name in features}


def fitted_schema(
    frame: pd.DataFrame,
    train: NDArray[np.int64],
    not_features: Mapping[str, str],
    overrides: Mapping[str, Override],
    file: Path | str | None,
    has_images: bool,
) -> TableSchema | None:
    """The fitted columns of a table; None without features.

    Args:
        frame: The table.
        train: Positions of the training rows.
        not_features: Columns that are not features, each with the reason.
        overrides: By column, a kind or options that are not inferred.
        file: Schema file of the columns; None: they are inferred.
        has_images: Whether there are images, so that features may be lacking.

    Raises:
        ValueError: If no column is left, or cells do not fit.
    """
    if file is not None:
        return TableSchema.load(file)
    # From all rows, independently of labels: all folds have the same features.
    decisions = infer_columns(frame, overrides, drop=not_features)
    if has_images and all(decision.kind in ("text", "drop") for decision in decisions):
        return None
    return TableSchema.fit_decided(frame, decisions, train=train)


def cell_faults(frame: pd.DataFrame, schema: TableSchema) -> list[str]:
    """One line for columns of a schema file that the table lacks, and one per column with invalid cells."""
    faults = Faults()
    with faults.caught():
        require_columns(frame, schema.sources)
    for column in schema.numerical:
        if (column.column or column.name) in frame.columns:
            with faults.caught():
                column.values(frame)
    return faults


def unseen_notes(schema: TableSchema | None, frame: pd.DataFrame) -> list[str]:
    """One note per column with categories of no or too few training rows."""
    if schema is None:
        return []
    rare = {column.name for column in schema.categorical if column.rare}
    return [
        f"Column {name!r} has {len(values)} value(s) "
        + (
            "of no or too few training rows: they count as one category, rare."
            if name in rare
            else "that no training row has: they count as missing."
        )
        for name, values in schema.unseen(frame).items()
    ]
