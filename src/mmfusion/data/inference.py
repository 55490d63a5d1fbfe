"""What kind of column each of a table is, decided from its cells, and why."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mmfusion.data.cells import (
    BOOLEANS,
    Codes,
    Floats,
    date_format,
    decimal_mark,
    distinct,
    key,
    one_column,
    parse_numbers,
    split_numbers,
)
from mmfusion.data.columns import in_order, scale_of

Override: TypeAlias = str | Mapping[str, Any]
"""A kind, or ``"drop"``, or a mapping with the column's options and, if it is not to be decided, its ``kind``."""

KINDS = ("numerical", "date", "categorical", "ordinal", "boolean", "text", "drop")
MOST_LEVELS = 10
"""Whole numbers of at most so many values, each in ten rows on average, are levels rather than amounts."""
MOST_CATEGORIES = 64
"""A text column of more values is an identifier or free text, unless told otherwise."""

_IDENTIFIER = re.compile(
    r"(?i:(.*[ _.-])?(id|ids|uid|uuid|guid|mrn|pid)|(patient|case|lesion|image|img|record|study|subject)[ _.-]?"
    r"(no|nr|num|number|name|code)?|unnamed: ?\d+|index)|.*[a-z](ID|Id)"
)
_FILE = re.compile(r"(?i).*\.(jpe?g|png|tiff?|bmp|gif|webp|dcm|nii|nii\.gz|mha|npy|npz)")


@dataclass(frozen=True)
class Decision:
    """What was decided of one column.

    Attributes:
        name: The column.
        kind: One of :data:`KINDS`; ``"text"`` and ``"drop"`` are left out of the schema.
        reason: Why, with the figures that decided; it quotes no cell, since files keep it.
        options: What the column is fitted with.
        remarks: What a reader should look at: spellings that look alike, a date that could be read otherwise. They may
            quote cells, and no file keeps them.
    """

    name: str
    kind: str
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class _Look:
    """What one pass over a column shows."""

    codes: Codes
    found: list[str]
    values: Floats | None  # of each distinct value, where all are numbers
    marks: tuple[str, ...] = ()  # texts of numbers that need their decimal mark told

    @property
    def n_there(self) -> int:
        return int((self.codes >= 0).sum())

    @property
    def whole(self) -> bool:
        return self.values is not None and bool(np.all(self.values == np.round(self.values)))


def infer_columns(
    frame: pd.DataFrame, overrides: Mapping[str, Override] | None = None, *, drop: Sequence[str] = ()
) -> list[Decision]:
    """Decide on every column of a table.

    Args:
        frame: The training rows.
        overrides: By column, what is known better.
        drop: Columns that are something else: labels, groups, file names.

    Returns:
        One decision a column, in the table's order.

    Raises:
        ValueError: If the table has no rows or two columns of one name, or an override is of no column or unknown.
    """
    overrides = dict(overrides or {})
    names = [str(name) for name in frame.columns]
    if not len(frame):
        raise ValueError("the table has no rows: nothing can be told of its columns")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the table has several columns called {twice}: rename or remove all but one of each")
    if unknown := sorted({*overrides, *drop} - set(names)):
        raise ValueError(f"the table has no column {unknown}; its columns are: {', '.join(names)}")
    decisions: list[Decision] = []
    contents: dict[bytes, str] = {}
    for name in names:
        if name in drop and name not in overrides:
            decisions.append(Decision(name, "drop", "is used for something else"))
            continue
        decision = _told(name, overrides[name]) if name in overrides else None
        if decision is None or not decision.kind:
            options = {} if decision is None else dict(decision.options)
            look = _look(one_column(frame, name), options.get("missing", ()))
            twin = contents.setdefault(_content(look), name)
            if twin != name and look.n_there:
                decision = Decision(name, "drop", f"has the same cells as {twin!r}")
            else:
                decision = _decide(name, look, options)
        decisions.append(decision)
    return decisions


def _told(name: str, override: Override) -> Decision:
    options = {"kind": override} if isinstance(override, str) else dict(override)
    kind = options.pop("kind", "")
    if kind and kind not in KINDS:
        raise ValueError(f"column {name!r} expects a kind out of {', '.join(KINDS)}, got {kind!r}")
    return Decision(name, kind, "as told", options)


def _look(column: "pd.Series", missing: Sequence[str]) -> _Look:
    missing = [text.lower() for text in missing]
    if not pd.api.types.is_bool_dtype(column):
        # Without a detour over texts where there are numbers: a measured column has as many values as rows.
        values, rest, found = split_numbers(column, missing)
        no_number = not np.isfinite(values).any()
        named = any(text.lower() in ("true", "false") for text in found)
        if not named and (not no_number or _perhaps_numbers(found)):
            values[rest >= 0] = parse_numbers(found, decimal_mark(found))[rest[rest >= 0]]
        if not (np.isnan(values) & (rest >= 0)).any() and np.isfinite(values).any():
            uniques, codes = np.unique(values, return_inverse=True)
            n = int((~np.isnan(uniques)).sum())
            few = uniques[: min(n, MOST_CATEGORIES)]
            said = [f"{value:.0f}" if value == round(value) else repr(float(value)) for value in few]
            marks = tuple(found) if found else ()
            return _Look(np.where(codes < n, codes, -1).astype(np.int64), said, uniques[:n], marks)
        if no_number:
            return _Look(rest, found, None)
    return _Look(*distinct(column, missing), None)


def _perhaps_numbers(found: Sequence[str]) -> bool:
    """Whether it is worth trying: a look at a few saves reading a hundred thousand sentences."""
    few = list(found[:20])
    return len(few) > 0 and bool(np.isfinite(parse_numbers(few, decimal_mark(few))).any())


def _content(look: _Look) -> bytes:
    """Equal for columns of equal cells."""
    if look.values is not None:
        cells: Any = np.append(look.values, np.nan)[look.codes]
    else:
        cells = np.append(pd.util.hash_array(np.array(look.found, dtype=object)), 0)[look.codes]
        cells = np.where(look.codes < 0, 0, cells)
    return hashlib.blake2b(cells.tobytes(), digest_size=16).digest()


def _decide(name: str, look: _Look, options: Mapping[str, Any]) -> Decision:
    n_there, n_found = look.n_there, len(look.found) if look.values is None else len(look.values)
    if not n_there:
        return Decision(name, "drop", "has no value in any row")
    if n_found == 1:
        return Decision(name, "drop", "says the same in every row that has a value")
    keys = {key(text) for text in look.found[: 2 * len(BOOLEANS)]}
    if n_found <= 2 * len(BOOLEANS) and keys <= set(BOOLEANS) and len({BOOLEANS[k] for k in keys}) == 2:
        return Decision(name, "boolean", f"its values are {listed(look.found)}", options)
    if look.values is not None:
        return _decide_number(name, look, look.values, options)
    fmt = date_format(look.found)
    if fmt is not None:
        return _decide_date(name, look, fmt, options)
    return _decide_text(name, look, n_there, n_found, options)


def _decide_number(name: str, look: _Look, values: Floats, options: Mapping[str, Any]) -> Decision:
    n_found, low, high = len(values), float(values.min()), float(values.max())
    if look.whole and _IDENTIFIER.fullmatch(name) and n_found > MOST_LEVELS:
        return Decision(name, "drop", f"looks like an identifier by its name: {n_found} whole numbers")
    if look.whole and n_found <= MOST_LEVELS and look.n_there >= 10 * n_found and high - low < 2 * MOST_LEVELS:
        return Decision(name, "ordinal", f"{n_found} whole numbers", options)
    commas = "decimal" not in options and decimal_mark(look.marks) == ","
    remarks = ("commas are read as decimal marks",) if commas else ()
    return Decision(name, "numerical", f"{n_found} numbers from {low:g} to {high:g}", options, remarks)


def _decide_date(name: str, look: _Look, fmt: str, options: Mapping[str, Any]) -> Decision:
    remarks: tuple[str, ...] = ()
    if fmt.startswith("%d") and not any(int(re.split(r"[-./]", text)[0]) > 12 for text in look.found):
        remarks = (f"day and month could be the other way round; they are read as in {fmt}",)
    chosen = {"date_format": fmt, **options}
    return Decision(name, "date", f"{len(look.found)} dates, as in {fmt}", chosen, remarks)


def _decide_text(name: str, look: _Look, n_there: int, n_found: int, options: Mapping[str, Any]) -> Decision:
    few = look.found[:100]
    if sum(_FILE.fullmatch(text) is not None for text in few) > len(few) / 2:
        return Decision(name, "drop", "names files")
    n_categories = len({key(text) for text in look.found})
    repeated = n_there >= 2 * n_categories
    if _IDENTIFIER.fullmatch(name) and (n_categories > MOST_LEVELS or not repeated):
        return Decision(name, "drop", f"looks like an identifier by its name: {n_categories} values in {n_there} rows")
    if n_categories <= MOST_CATEGORIES and (repeated or n_categories <= MOST_LEVELS):
        remarks = tuple(_look_alikes(look))
        scale = scale_of(in_order(look.found)) if n_categories == n_found else None
        if scale is not None:
            return Decision(name, "ordinal", f"{n_categories} levels", options, remarks)
        return Decision(name, "categorical", f"{n_categories} values", options, remarks)
    if sum(" " in text for text in few) > len(few) / 2:
        return Decision(name, "text", f"free text, {n_categories} different ones in {n_there} rows")
    return Decision(name, "drop", f"looks like an identifier: {n_categories} values in {n_there} rows")


def _look_alikes(look: _Look) -> list[str]:
    """Pairs of values that may be one, misspelt: a letter apart, the one far rarer than the other."""
    counts = np.bincount(look.codes[look.codes >= 0], minlength=len(look.found))
    remarks = []
    by_count = sorted(range(len(look.found)), key=lambda i: -counts[i])
    for place, common in enumerate(by_count):
        for rare in by_count[place + 1 :]:
            a, b = key(look.found[common]), key(look.found[rare])
            if a != b and counts[rare] * 5 <= counts[common] and _a_letter_apart(a, b):
                remarks.append(
                    f"{look.found[rare]!r} ({counts[rare]} rows) looks like {look.found[common]!r} ({counts[common]} "
                    "rows): an alias makes them one"
                )
    return remarks


def _a_letter_apart(a: str, b: str) -> bool:
    short, long = sorted((a, b), key=len)
    if len(short) < 5 or len(long) - len(short) > 1 or re.search(r"\d", long):
        return False
    differ = next((i for i, (one, other) in enumerate(zip(short, long)) if one != other), len(short))
    rest = short[differ:] if len(short) < len(long) else short[differ + 1 :]
    return rest == long[differ + 1 :]


def listed(values: Sequence[str], most: int = 8) -> str:
    """The first of some values, long ones cut off, and how many more there are."""
    said = ", ".join(value if len(value) <= 24 else value[:21] + "..." for value in values[:most])
    return said + (f" and {len(values) - most} more" if len(values) > most else "")
