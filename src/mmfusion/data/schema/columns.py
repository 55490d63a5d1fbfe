"""Kinds of columns, fitted on the training rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import pandas as pd

from mmfusion.data.schema.categorical_column import MIN_CASES, CategoricalColumn
from mmfusion.data.schema.cells import Codes
from mmfusion.data.schema.numerical_column import FITTED, NumericalColumn
from mmfusion.spec import Wording

__all__ = ["MIN_CASES", "CategoricalColumn", "Column", "FlagColumn", "Kind", "NumericalColumn", "fit_column"]

Kind: TypeAlias = Literal["numerical", "date", "ratio", "categorical", "ordinal", "boolean"]


@dataclass(frozen=True)
class FlagColumn:
    """Flag for bounds among the numbers of a column; added to each column whose ``censored`` is ``"flag"``.

    Attributes:
        number: The column of numbers.
    """

    number: NumericalColumn
    kind: ClassVar[str] = "categorical"
    categories: ClassVar[tuple[str, ...]] = ("no", "below", "above")

    @property
    def name(self) -> str:
        """The name of the column of numbers with the suffix ``_censored``."""
        return f"{self.number.name}_censored"

    @property
    def source(self) -> str:
        """The table's column."""
        return self.number.source

    def encode(self, frame: pd.DataFrame) -> Codes:
        """Codes, shape ``(n,)`` int64: 0 where the value is the number, 1 below it, 2 above it; -1 is missing."""
        bounds = self.number.bounds(frame)
        codes = np.select([bounds < 0, bounds > 0], [1, 2], 0)
        return np.where(np.isnan(self.number.encode(frame)), -1, codes).astype(np.int64)

    @property
    def wording(self) -> Wording:
        """The meaning of the codes."""
        return Wording(categories=self.categories)


Column: TypeAlias = NumericalColumn | CategoricalColumn | FlagColumn


def fit_column(
    frame: pd.DataFrame,
    name: str,
    kind: Kind,
    options: Mapping[str, Any],
    *,
    train: Sequence[int] | None = None,
) -> tuple[NumericalColumn | CategoricalColumn, ...]:
    """Fit a column of a kind on the training rows; a ratio gives two columns.

    Args:
        frame: All rows; they determine the notation of the cells.
        name: The table's column.
        kind: Its kind.
        options: Attributes that are not fitted.
        train: Positions of the training rows; None: all.

    Raises:
        ValueError: If the kind or an option is unknown, or the cells are not of the kind.
    """
    is_number = kind in ("numerical", "date", "ratio")
    column_class: type[NumericalColumn | CategoricalColumn] = NumericalColumn if is_number else CategoricalColumn
    fitted = FITTED | {"kind", "column", "part", "rare"}
    valid = sorted({*column_class.__dataclass_fields__, *(() if is_number else ("min_cases",))} - fitted)
    if unknown := sorted(set(options) - set(valid)):
        raise ValueError(f"column {name!r} of kind {kind!r} has no option {unknown}; valid: {', '.join(valid)}")
    if kind == "ratio":
        return tuple(NumericalColumn.fit(frame, name, train=train, part=part, **options) for part in (1, 2))
    if is_number:
        return (NumericalColumn.fit(frame, name, train=train, kind=kind, **options),)
    return (CategoricalColumn.fit(frame, name, train=train, kind=kind, **options),)
