"""Schema of a table: fitted columns that transform rows to numbers and codes."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfusion.data.schema.cells import ColumnFaults, require_columns
from mmfusion.data.schema.columns import (
    MIN_CASES,
    CategoricalColumn,
    Column,
    FlagColumn,
    Kind,
    NumericalColumn,
    fit_column,
)
from mmfusion.data.schema.description import describe
from mmfusion.data.schema.inference import Decision, Override, infer_columns
from mmfusion.data.schema.leaks import Leak, find_leaks
from mmfusion.data.schema.number_cells import Remark
from mmfusion.data.schema.schema_file import read_schema_file, write_schema_file
from mmfusion.packed import entries, unpack_each
from mmfusion.spec import Columns
from mmfusion.tokens import Table


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table modality, fitted on the training rows alone.

    Attributes:
        numerical: Columns of numbers and dates, in order.
        categorical: Columns of categories, levels and booleans, in order.
        decisions: The decisions of :meth:`infer` on all columns of the table, including those left out; empty for
            :meth:`fit`.
    """

    numerical: tuple[NumericalColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "numerical", tuple(self.numerical))
        object.__setattr__(self, "categorical", tuple(self.categorical))
        object.__setattr__(self, "decisions", tuple(self.decisions))

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        *,
        numerical: Sequence[str] = (),
        categorical: Sequence[str] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
        train: Sequence[int] | NDArray[np.int64] | None = None,
        min_cases: int = MIN_CASES,
    ) -> "TableSchema":
        """Fit means, deviations and vocabularies of columns of known kinds.

        Args:
            frame: All rows; they determine the notation of numbers and dates.
            numerical: Names of the columns of numbers.
            categorical: Names of the columns of categories.
            options: By column, attributes of its :class:`~mmfusion.data.schema.columns.NumericalColumn` or
                :class:`~mmfusion.data.schema.columns.CategoricalColumn` that are not fitted, and a finer ``kind``:
                ``"date"``, ``"ratio"``, ``"ordinal"``, ``"boolean"``.
            train: Positions of the training rows, which statistics and vocabularies are of; None: all rows.
            min_cases: Categories of fewer training rows are merged into one, ``rare``, unless a column's options have
                ``categories`` or ``min_cases``. 1: all categories are kept.

        Returns:
            The fitted schema.

        Raises:
            ValueError: If a column is not in the table, an option is unknown, or cells are not of the column's kind.
        """
        options = options or {}
        require_columns(frame, [*numerical, *categorical])
        if unknown := sorted(set(options) - {*numerical, *categorical}):
            raise ValueError(f"options are given for {unknown}, which are not among the columns")
        plain = {**dict.fromkeys(numerical, "numerical"), **dict.fromkeys(categorical, "categorical")}
        decided = []
        for name, kind in plain.items():
            given = dict(options.get(name, {}))
            decided.append(Decision(name, given.pop("kind", kind), "as given", given))
        return cls._fitted(frame, decided, train, min_cases)

    @classmethod
    def infer(
        cls,
        frame: pd.DataFrame,
        *,
        overrides: Mapping[str, Override] | None = None,
        drop: Collection[str] = (),
        train: Sequence[int] | NDArray[np.int64] | None = None,
        min_cases: int = MIN_CASES,
    ) -> "TableSchema":
        """Infer the kind of each column, and fit it.

        Numbers, booleans, ordered levels, categories and dates are recognized by their cells. Columns that are empty,
        constant or a copy of another one, identifiers, file names and free text are left out, with a reason. A few
        other cells in a column of numbers count as missing, and :attr:`remarks` quotes them. :meth:`describe` lists
        all decisions.

        Args:
            frame: All rows; they determine kinds and notations, independently of labels, so that all folds have the
                same features.
            overrides: By column, its kind (``"numerical"``, ``"date"``, ``"ratio"``, ``"categorical"``, ``"ordinal"``,
                ``"boolean"``, or ``"drop"``), or a mapping with ``kind`` and options as in :meth:`fit`; without
                ``kind`` it is inferred.
            drop: Columns that are not features: labels, groups, image names; as a mapping, each with the reason.
            train: Positions of the training rows, which statistics and vocabularies are of; None: all rows.
            min_cases: As in :meth:`fit`.

        Returns:
            The fitted schema, columns in the table's order within numbers and categories.

        Raises:
            ValueError: If the table has no rows, two columns share a name, an override does not fit, or no column is
                left.
        """
        decisions = infer_columns(frame, overrides, drop=drop)
        return cls.fit_decided(frame, decisions, train=train, min_cases=min_cases)

    @classmethod
    def fit_decided(
        cls,
        frame: pd.DataFrame,
        decisions: Sequence[Decision],
        *,
        train: Sequence[int] | NDArray[np.int64] | None = None,
        min_cases: int = MIN_CASES,
    ) -> "TableSchema":
        """Fit the columns that :func:`~mmfusion.data.schema.inference.infer_columns` decided on; see :meth:`infer`.

        Raises:
            ValueError: If no column is left, or cells are not of an override's kind.
        """
        schema = cls._fitted(
            frame, [decision for decision in decisions if decision.kind not in ("text", "drop")], train, min_cases
        )
        if not schema.names:
            reasons = "; ".join(f"{decision.name!r} {decision.reason}" for decision in decisions)
            raise ValueError(f"no column is left to learn from: {reasons}")
        clean = {decision.name for decision in decisions if decision.clean}
        remarks = schema.cell_remarks(frame[[name for name in schema.sources if name not in clean]])
        # The options are in the fitted columns.
        remarked = [
            replace(
                decision, options={}, remarks=(*decision.remarks, *(r for r in remarks if r.column == decision.name))
            )
            for decision in decisions
        ]
        return cls(schema.numerical, schema.categorical, tuple(remarked))

    @classmethod
    def _fitted(
        cls,
        frame: pd.DataFrame,
        decided: Sequence[Decision],
        train: Sequence[int] | NDArray[np.int64] | None,
        min_cases: int,
    ) -> "TableSchema":
        rows = None if train is None else np.asarray(train, dtype=np.int64).tolist()
        columns: list[NumericalColumn | CategoricalColumn] = []
        faults: list[str] = []
        for decision in decided:
            options = dict(decision.options)
            if decision.kind in ("categorical", "ordinal"):
                options.setdefault("min_cases", min_cases)
            try:
                columns += fit_column(frame, decision.name, cast("Kind", decision.kind), options, train=rows)
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ColumnFaults(faults)
        fitted = cls(
            tuple(column for column in columns if isinstance(column, NumericalColumn)),
            tuple(column for column in columns if isinstance(column, CategoricalColumn)),
        )
        if twice := sorted({name for name in fitted.names if fitted.names.count(name) > 1}):
            raise ValueError(
                f"a ratio or a flag adds columns {twice}, which the table has already: rename the table's columns"
            )
        return fitted

    @property
    def flags(self) -> tuple[FlagColumn, ...]:
        """The flags for bounds, one for each column whose ``censored`` is ``"flag"``."""
        return tuple(FlagColumn(number) for number in self.numerical if number.censored == "flag")

    @property
    def _coded(self) -> tuple[CategoricalColumn | FlagColumn, ...]:
        return (*self.categorical, *self.flags)

    @property
    def names(self) -> tuple[str, ...]:
        """All column names: numerical ones, then categorical ones, then flags."""
        return tuple(column.name for column in self)

    @property
    def sources(self) -> tuple[str, ...]:
        """The table's columns from which these are read, each once."""
        return tuple(dict.fromkeys(column.source for column in self))

    @property
    def columns(self) -> Columns:
        """Names and sizes of the columns, for models.

        A categorical column without a value in the training rows has one category, which never occurs.
        """
        return Columns(
            numerical=tuple(column.name for column in self.numerical),
            categorical=tuple((column.name, max(1, len(column.categories))) for column in self._coded),
            wordings=tuple(column.wording for column in self),
        )

    def transform(self, frame: pd.DataFrame, *, absent: Literal["error", "missing"] = "error") -> Table:
        """Transform rows to numbers and codes. The order of columns does not matter, and further ones are ignored.

        Args:
            frame: A table with this schema's columns.
            absent: What an absent column means: an error, or that all its cells are missing.

        Returns:
            numerical ``(n, n_num)`` float32, standardized, NaN where missing; categorical ``(n, n_cat)`` int64, -1
            where missing or unknown. An unknown category of a column with ``rare`` is the rare one.

        Raises:
            ValueError: If a column is not in the table, or cells are not of their column's kind.
        """
        if absent not in ("error", "missing"):
            raise ValueError(f"absent expects 'error' or 'missing', got {absent!r}")
        if absent == "error":
            require_columns(frame, self.sources)
        n = len(frame)
        numerical = np.full((n, len(self.numerical)), np.nan, dtype=np.float32)
        for i, number in enumerate(self.numerical):
            if number.source in frame.columns:
                numerical[:, i] = number.encode(frame)
        codes = self._coded
        categorical = np.full((n, len(codes)), -1, dtype=np.int64)
        for i, category in enumerate(codes):
            if category.source in frame.columns:
                categorical[:, i] = category.encode(frame)
        return Table(torch.from_numpy(numerical), torch.from_numpy(categorical))

    def unseen(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        """Unknown categories by column: :meth:`transform` takes them as missing, or as ``rare``."""
        unseen = {c.name: c.unseen(frame) for c in self.categorical if c.name in frame.columns}
        return {name: values for name, values in unseen.items() if values}

    def cell_remarks(self, frame: pd.DataFrame) -> list[Remark]:
        """Remarks on a table's cells, of training rows or new ones.

        By column, cells that count as missing though not empty (infinite numbers, numbers beyond float32, errors of
        spreadsheets, cells that are no number or date), and bounds such as ``<0.5``.
        """
        every: tuple[NumericalColumn | CategoricalColumn, ...] = (*self.numerical, *self.categorical)
        columns = [column for column in every if column.source in frame.columns]
        return list(dict.fromkeys(remark for column in columns for remark in column.remarks(frame)))

    def check(
        self,
        frame: pd.DataFrame,
        labels: Sequence[int] | NDArray[np.int64],
        *,
        classes: Sequence[str] = (),
        groups: Sequence[str] | None = None,
    ) -> list[Leak]:
        """Columns that may leak the label; see :func:`~mmfusion.data.schema.leaks.find_leaks`.

        Args:
            frame: The training rows.
            labels: Class of each row, shape ``(n,)``.
            classes: Names of the classes; empty: their indices.
            groups: Patient or lesion of each row.

        Returns:
            The findings, each with its figure; ``str()`` gives its sentence.
        """
        return find_leaks(self, frame, labels, classes=classes, groups=groups)

    def remarks_on(self, frame: pd.DataFrame) -> list[Remark]:
        """Those of :meth:`cell_remarks`, with what was remarked when the columns were inferred."""
        return list(dict.fromkeys([*self._remarks, *self.cell_remarks(frame)]))

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks for the user, with cells: similar spellings, ambiguous decimal marks and dates, cells that count as
        missing.

        They are not saved: a loaded schema has none.
        """
        return tuple(map(str, self._remarks))

    @property
    def remarks_without_cells(self) -> tuple[str, ...]:
        """The remarks without cells, which may be saved with results."""
        return tuple(remark.without_cells for remark in self._remarks)

    @property
    def _remarks(self) -> list[Remark]:
        return [remark for decision in self.decisions for remark in decision.remarks]

    def describe(self) -> str:
        """One line per column with its kind and the reason, those left out at the end; then the remarks."""
        return describe(self, self.decisions, self.remarks)

    def __iter__(self) -> Iterator[Column]:
        yield from self.numerical
        yield from self.categorical
        yield from self.flags

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON, which keeps every bit of the floats."""
        packed: dict[str, Any] = {
            "numerical": [column.to_dict() for column in self.numerical],
            "categorical": [column.to_dict() for column in self.categorical],
        }
        if self.decisions:
            packed["decisions"] = [
                {"name": decision.name, "kind": decision.kind, "reason": decision.reason} for decision in self.decisions
            ]
        return packed

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "TableSchema":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If an entry is invalid; names the key.
        """
        parts = entries(packed, "schema", "numerical", "categorical")
        return cls(
            unpack_each(NumericalColumn, parts["numerical"], "schema.numerical"),
            unpack_each(CategoricalColumn, parts["categorical"], "schema.categorical"),
            unpack_each(Decision, parts.get("decisions", ()), "schema.decisions"),
        )

    def save(self, path: Path | str) -> None:
        """Write a TOML file that people can read and edit, for :meth:`load`.

        Raises:
            FileExistsError: If the file exists.
        """
        write_schema_file(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> "TableSchema":
        """Read a file of :meth:`save`.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it is not a schema file; names the key.
        """
        return read_schema_file(Path(path), cls.from_dict)
