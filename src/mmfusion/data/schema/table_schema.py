"""The columns of a table: what was fitted on the training rows, and how any row becomes numbers."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
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
from mmfusion.spec import Columns
from mmfusion.tokens import Table
from mmfusion.utils.packed import entries, unpack_each


@dataclass(frozen=True)
class TableSchema:
    """The columns of a table modality, fitted on the training rows alone.

    Attributes:
        numerical: Columns of numbers and dates, in order.
        categorical: Columns of categories, levels and booleans, in order.
        decisions: What :meth:`infer` decided of each column of the table, those left out included; empty for a schema
            that was told its columns.
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
        """Learn means, deviations and vocabularies of columns whose kinds are known.

        Args:
            frame: Rows, all of which say how numbers and dates are written.
            numerical: Names of the columns of numbers.
            categorical: Names of the columns of categories.
            options: By column, attributes of its :class:`~mmfusion.data.schema.columns.NumericalColumn` or
                :class:`~mmfusion.data.schema.columns.CategoricalColumn` that are not fitted, and a finer ``kind``:
                ``"date"``, ``"ratio"``, ``"ordinal"``, ``"boolean"``.
            train: Positions of the training rows, which statistics and vocabularies are of; None: all rows.
            min_cases: Categories of fewer rows are merged into one, ``rare``, and not named, unless a column's options
                give its ``categories`` or a ``min_cases`` of its own. 1: all are named.

        Returns:
            The fitted schema.

        Raises:
            ValueError: If a column is not in the table, an option is unknown, or cells are not of the column's kind.
        """
        options = options or {}
        require_columns(frame, [*numerical, *categorical])
        if strangers := sorted(set(options) - {*numerical, *categorical}):
            raise ValueError(f"options are given for {strangers}, which are not among the columns")
        plain = {**dict.fromkeys(numerical, "numerical"), **dict.fromkeys(categorical, "categorical")}
        decided = []
        for name, kind in plain.items():
            own = dict(options.get(name, {}))
            decided.append(Decision(name, own.pop("kind", kind), "as told", own))
        return cls._fitted(frame, decided, train, min_cases)

    @classmethod
    def infer(
        cls,
        frame: pd.DataFrame,
        *,
        overrides: Mapping[str, Override] | None = None,
        drop: Sequence[str] = (),
        train: Sequence[int] | NDArray[np.int64] | None = None,
        min_cases: int = MIN_CASES,
    ) -> "TableSchema":
        """Decide what each column is, and fit it.

        Numbers, booleans, levels with an order, categories and dates are found by their cells. Left out, with the
        reason, are columns that are empty, constant or a copy of another one, identifiers, names of files and free
        text. A column of numbers but for a few cells stays one: the few are missing, and :attr:`remarks` quotes them.
        :meth:`describe` says what was decided.

        Args:
            frame: Rows. All of them decide what the columns are and how their cells are written, which takes no labels,
                so that all folds have the same features.
            overrides: By column, its kind (``"numerical"``, ``"date"``, ``"ratio"``, ``"categorical"``, ``"ordinal"``,
                ``"boolean"``, or ``"drop"``), or a mapping with ``kind`` and options as in :meth:`fit`; without
                ``kind`` that is still decided.
            drop: Columns that are something else: labels, groups, image names.
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
            ValueError: If no column is left, or cells are not of the kind that an override says.
        """
        schema = cls._fitted(frame, [one for one in decisions if one.kind not in ("text", "drop")], train, min_cases)
        if not schema.names:
            reasons = "; ".join(f"{one.name!r} {one.reason}" for one in decisions)
            raise ValueError(f"no column is left to learn from: {reasons}")
        clean = {one.name for one in decisions if one.clean}
        remarks = schema.cell_remarks(frame[[name for name in schema.sources if name not in clean]])
        # What a column was fitted with is in the column.
        said = []
        for one in decisions:
            own = [remark for remark in remarks if remark.column == one.name]
            empty = ("",) * (len(one.remarks) - len(one.cells))
            said.append(
                replace(
                    one,
                    options={},
                    remarks=(*one.remarks, *(remark.text for remark in own)),
                    cells=(*one.cells, *empty, *(remark.cells for remark in own)),
                )
            )
        return cls(schema.numerical, schema.categorical, tuple(said))

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
        for one in decided:
            options = dict(one.options)
            if one.kind in ("categorical", "ordinal"):
                options.setdefault("min_cases", min_cases)
            try:
                columns += fit_column(frame, one.name, cast("Kind", one.kind), options, train=rows)
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ColumnFaults(faults)
        fitted = cls(
            tuple(column for column in columns if isinstance(column, NumericalColumn)),
            tuple(column for column in columns if isinstance(column, CategoricalColumn)),
        )
        if twice := sorted({name for name in fitted.names if fitted.names.count(name) > 1}):
            raise ValueError(f"a ratio or a flag makes columns {twice}, which the table has: rename those of the table")
        return fitted

    @property
    def flags(self) -> tuple[FlagColumn, ...]:
        """The columns that say which numbers are bounds, of those whose ``censored`` is ``"flag"``."""
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
        """The table's columns that these are read from, each once."""
        return tuple(dict.fromkeys(column.source for column in self))

    @property
    def columns(self) -> Columns:
        """What a model needs to know.

        A column of which no training row has a value counts one category, which never occurs.
        """
        return Columns(
            numerical=tuple(column.name for column in self.numerical),
            categorical=tuple((column.name, max(1, len(column.categories))) for column in self._coded),
            wordings=tuple(column.wording for column in self),
        )

    def transform(self, frame: pd.DataFrame, *, absent: Literal["error", "missing"] = "error") -> Table:
        """Any rows in the units of the training rows. Columns may come in another order, and others beside them.

        Args:
            frame: A table with this schema's columns.
            absent: What a column that is not there means: an error, or that all its cells are missing.

        Returns:
            numerical ``(n, n_num)`` float32, standardised, NaN where missing; categorical ``(n, n_cat)`` int64, -1
            where missing or not named. Where a column has ``rare``, a category that is not named is that one.

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
        """Categories that are not named, by column: :meth:`transform` takes them for missing, or for ``rare``."""
        found = {c.name: c.unseen(frame) for c in self.categorical if c.name in frame.columns}
        return {name: values for name, values in found.items() if values}

    def cell_remarks(self, frame: pd.DataFrame) -> list[Remark]:
        """What a reader should know of a table's cells, training rows or new ones.

        For each column the cells that are missing though something is there (infinite numbers, those beyond float32,
        spreadsheets' errors, what is no number or no date), and those that are bounds, such as ``<0.5``.
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
        """Columns that give the label away; see :func:`~mmfusion.data.schema.leaks.find_leaks`.

        Args:
            frame: The training rows.
            labels: Class of each row, shape ``(n,)``.
            classes: Names of the classes; empty: their indices.
            groups: Patient or lesion of each row.

        Returns:
            The findings, each with its figure; ``str()`` gives its sentence.
        """
        return find_leaks(self, frame, labels, classes=classes, groups=groups)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should look at, with the cells as they stand: spellings that look alike, marks and dates that
        could be read otherwise, cells that count as missing.

        No file keeps them: a schema that was loaded has none.
        """
        return tuple(map(str, self._remarks))

    @property
    def remarks_without_cells(self) -> tuple[str, ...]:
        """The same without the cells, to be kept with results."""
        return tuple(remark.without_cells for remark in self._remarks)

    @property
    def _remarks(self) -> list[Remark]:
        return [
            Remark(one.name, remark, cells)
            for one in self.decisions
            for remark, cells in itertools.zip_longest(one.remarks, one.cells, fillvalue="")
        ]

    def describe(self) -> str:
        """A line a column: its kind and why, those left out at the end; then the remarks."""
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
            packed["decisions"] = [{"name": one.name, "kind": one.kind, "reason": one.reason} for one in self.decisions]
        return packed

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "TableSchema":
        """The inverse of :meth:`to_dict`; what a column was decided with is in the column itself.

        Raises:
            ValueError: If it is not what that wrote; names the key.
        """
        parts = entries(packed, "schema", "numerical", "categorical")
        return cls(
            unpack_each(NumericalColumn, parts["numerical"], "schema.numerical"),
            unpack_each(CategoricalColumn, parts["categorical"], "schema.categorical"),
            unpack_each(Decision, parts.get("decisions", ()), "schema.decisions"),
        )

    def save(self, path: Path | str) -> None:
        """Write a TOML file, to be read by people, edited, and :meth:`load`-ed.

        Raises:
            FileExistsError: If the file is there.
        """
        write_schema_file(Path(path), self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> "TableSchema":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If the file is not there.
            ValueError: If it is not such a file, naming the key.
        """
        return read_schema_file(Path(path), cls.from_dict)
