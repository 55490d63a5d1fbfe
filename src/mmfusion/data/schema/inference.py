"""What kind of column each of a table is, decided from its cells, and why."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mmfusion.data.schema.cell_survey import MOST_CATEGORIES, MOST_LEVELS, Look, few, look_at
from mmfusion.data.schema.cells import BOOLEANS, Floats, distinct, key, one_column
from mmfusion.data.schema.dates import date_format, date_formats, is_year, looks_like_date
from mmfusion.data.schema.known_orders import in_order, scale_of
from mmfusion.data.schema.numerals import is_ratio, units_of

Override: TypeAlias = str | Mapping[str, Any]
"""A kind, or ``"drop"``, or a mapping with the column's options and, if it is not to be decided, its ``kind``."""

KINDS = ("numerical", "date", "ratio", "categorical", "ordinal", "boolean", "text", "drop")
_IDENTIFIER = re.compile(
    r"(?i:(.*[ _.-])?(id|ids|uid|uuid|guid|mrn|pid)|(patient|case|lesion|image|img|record|study|subject)[ _.-]?"
    r"(no|nr|num|number|name|code)?|unnamed: ?\d+|index)|.*[a-z](ID|Id)"
)
_FILE = re.compile(r"(?i).*\.(jpe?g|png|tiff?|bmp|gif|webp|dcm|nii|nii\.gz|mha|npy|npz)")

_EXACT = 2.0**53
"""From here on a float does not hold every whole number."""
_LOOK_ALIKE = "a rare value could be a frequent one, misspelt: an alias would make them one"


@dataclass(frozen=True)
class Decision:
    """What was decided of one column.

    Attributes:
        name: The column.
        kind: One of :data:`KINDS`; ``"text"`` and ``"drop"`` are left out of the schema.
        reason: Why, with the figures that decided; it quotes no cell, since files keep it.
        options: What the column is fitted with.
        remarks: What a reader should look at: spellings that look alike, a date that could be read otherwise. They
            quote no cell, and no schema's file keeps them.
        cells: For each remark the cells that it is about, as they stand in the table, or nothing: for the user's eyes,
            never stored.
        clean: Whether no cell is known to need a remark.
    """

    name: str
    kind: str
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = field(default=(), compare=False)
    cells: tuple[str, ...] = field(default=(), compare=False)
    clean: bool = field(default=False, compare=False)


def infer_columns(
    frame: pd.DataFrame, overrides: Mapping[str, Override] | None = None, *, drop: Sequence[str] = ()
) -> list[Decision]:
    """Decide on every column of a table.

    Args:
        frame: Rows. All of a comparison's, since kinds are told without labels, and its folds need the same.
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
            column = one_column(frame, name)
            look = look_at(column, options)
            twin = contents.setdefault(_content(look, column), name)
            if twin != name and look.n_there:
                decision = Decision(name, "drop", f"has the same cells as {twin!r}")
            else:
                decision = _decide(name, look, options)
                # A date that is none is only found when it is read.
                decision = replace(decision, clean=look.clean and decision.kind != "date")
        decisions.append(decision)
    return decisions


def _told(name: str, override: Override) -> Decision:
    options = {"kind": override} if isinstance(override, str) else dict(override)
    kind = options.pop("kind", "")
    if kind and kind not in KINDS:
        raise ValueError(f"column {name!r} expects a kind out of {', '.join(KINDS)}, got {kind!r}")
    if kind in ("numerical", "date", "ratio") or not kind:
        options.setdefault("invalid", "missing")
    return Decision(name, kind, "as told", options)


def _content(look: Look, column: "pd.Series") -> bytes:
    """Equal for columns of equal cells."""
    if look.cells is not None and not look.n_censored and look.invalid is None:
        # One bit pattern for each: of zeros, and of what is missing.
        cells: Any = np.where(np.isnan(look.cells), np.nan, look.cells + 0.0)
    else:
        codes, found = (look.codes, look.found) if look.values is None else distinct(column)
        cells = np.append(pd.util.hash_array(np.array(found, dtype=object)), 0)[codes]
        cells = np.where(codes < 0, 0, cells)
    return hashlib.blake2b(cells.tobytes(), digest_size=16).digest()


def _decide(name: str, look: Look, options: Mapping[str, Any]) -> Decision:
    n_there, n_found = look.n_there, len(look.found) if look.values is None else len(look.values)
    if not n_there:
        return Decision(name, "drop", "has no value in any row")
    if n_found == 1:
        return Decision(name, "drop", "says the same in every row that has a value")
    keys = {key(text) for text in look.found[: 2 * len(BOOLEANS)]}
    boolean = n_found <= 2 * len(BOOLEANS) and keys <= set(BOOLEANS) and len({BOOLEANS[k] for k in keys}) == 2
    if boolean and look.plain and look.invalid is None:
        return Decision(name, "boolean", f"its values are {listed(look.found)}", _of_categories(options))
    if look.values is not None:
        return _decide_number(name, look, look.values, options)
    return _decide_date(name, look, options) or _decide_text(name, look, n_there, n_found, _of_categories(options))


def _of_categories(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "invalid"}


def _decide_number(name: str, look: Look, values: Floats, options: Mapping[str, Any]) -> Decision:
    n_found, low, high = len(values), float(values.min()), float(values.max())
    if look.whole and _IDENTIFIER.fullmatch(name) and n_found > MOST_LEVELS:
        return Decision(name, "drop", f"looks like an identifier by its name: {n_found} whole numbers")
    if look.whole and float(np.median(np.abs(values))) >= _EXACT:
        return Decision(name, "drop", f"looks like an identifier: {n_found} whole numbers of 16 digits or more")
    few_levels = n_found <= MOST_LEVELS and look.n_there >= 10 * n_found and high - low < 2 * MOST_LEVELS
    if look.whole and look.plain and few_levels:
        chosen = _of_categories(options) | ({} if look.invalid is None else {"numbers_only": True})
        return Decision(name, "ordinal", f"{n_found} whole numbers", chosen)
    written, remarks = _how_written(look, options)
    # The range is the column's own, of the training rows; all cells' could be a telephone number.
    return Decision(name, "numerical", f"{n_found} numbers", {"invalid": "missing", **written, **options}, remarks)


def _how_written(look: Look, options: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a column of numbers is fitted with, and what a reader should look at."""
    one = look.notation
    written = {"decimal": one.decimal, "thousands": one.thousands, "suffix": one.suffix, "percent": one.percent}
    remarks = []
    if one.decimal == "," and "decimal" not in options:
        more = ", and points separate thousands" if one.thousands else ""
        remarks.append(f"commas are read as decimal marks{more}")
    if one.suffix and "suffix" not in options:
        remarks.append(f"the unit {one.suffix!r} is left out of its cells")
        if "unit" not in options:
            written["unit"] = one.suffix
    return written, tuple(remarks)


def _decide_date(name: str, look: Look, options: Mapping[str, Any]) -> Decision | None:
    """A date, if the texts are dates, but for a few."""
    fmt = options.get("date_format") or date_format(look.found)
    if fmt is not None:
        other: tuple[str, ...] = ()
        if fmt.startswith("%d") and not any(int(re.split(r"[-./]", text)[0]) > 12 for text in look.found):
            other = (f"day and month could be the other way round; they are read as in {fmt}",)
        chosen = {"invalid": "missing", "date_format": fmt, **options}
        return Decision(name, "date", f"{len(look.found)} dates, as in {fmt}", chosen, other)
    if not any(looks_like_date(text) for text in look.found[:50]):
        return None
    counts = np.bincount(look.codes[look.codes >= 0], minlength=len(look.found))
    formats, fits = date_formats(look.found, counts.tolist())
    n_invalid = int(counts[~fits].sum())
    if not formats or not few(n_invalid, look.n_there, int((~fits).sum()), int(fits.sum())):
        return None
    if all(is_year(text) for text, one in zip(look.found, fits, strict=True) if one):
        return None
    reason = f"{int(fits.sum())} dates in {len(formats)} format{'s' if len(formats) > 1 else ''}"
    said = f"dates are read as in {', '.join(formats)}; a year or month alone is its first day"
    chosen = {"invalid": "missing", "date_format": formats[0], "more_formats": formats[1:], **options}
    return Decision(name, "date", reason, chosen, (said,) if len(formats) > 1 else ())


def _decide_text(name: str, look: Look, n_there: int, n_found: int, options: Mapping[str, Any]) -> Decision:
    shown = look.found[:100]
    if sum(_FILE.fullmatch(text) is not None for text in shown) > len(shown) / 2:
        return Decision(name, "drop", "names files")
    hints = tuple(_hints(name, look, shown))
    n_categories = len({key(text) for text in look.found})
    repeated = n_there >= 2 * n_categories
    if _IDENTIFIER.fullmatch(name) and (n_categories > MOST_LEVELS or not repeated):
        return Decision(name, "drop", f"looks like an identifier by its name: {n_categories} values in {n_there} rows")
    if n_categories <= MOST_CATEGORIES and (repeated or n_categories <= MOST_LEVELS):
        pairs = _look_alikes(look)
        remarks = (*(_LOOK_ALIKE for _ in pairs), *hints)
        cells = (*pairs, *("" for _ in hints))
        scale = scale_of(in_order(look.found)) if n_categories == n_found else None
        if scale is not None:
            return Decision(name, "ordinal", f"{n_categories} levels", options, remarks, cells)
        return Decision(name, "categorical", f"{n_categories} values", options, remarks, cells)
    if sum(" " in text for text in shown) > len(shown) / 2 and not hints:
        return Decision(name, "text", f"free text, {n_categories} different ones in {n_there} rows")
    reason = "looks like an identifier" if not hints else "is neither numbers nor categories"
    return Decision(name, "drop", f"{reason}: {n_categories} values in {n_there} rows", remarks=hints)


def _hints(name: str, look: Look, shown: Sequence[str]) -> list[str]:
    """How a column that is none of numbers could become one."""
    if sum(map(is_ratio, shown)) > 0.9 * len(shown):
        return [f"its cells are ratios: overrides={{{name!r}: 'ratio'}} makes two columns of numbers of it"]
    units = units_of(shown)
    if sum(units.values()) > 0.9 * len(shown) and len(units) > 1:
        return [f"its numbers have {len(units)} different units: bring them to one to use them as numbers"]
    if 2 * look.n_numbers > look.n_there and len(look.found) > MOST_LEVELS:
        return [
            f"{look.n_numbers} of {look.n_there} cells are numbers: overrides={{{name!r}: 'numerical'}} makes a column "
            "of numbers of it, in which the others are missing"
        ]
    return []


def _look_alikes(look: Look) -> list[str]:
    """Pairs of values that may be one, misspelt: a letter apart, the one far rarer than the other."""
    counts = np.bincount(look.codes[look.codes >= 0], minlength=len(look.found))
    pairs = []
    by_count = sorted(range(len(look.found)), key=lambda i: -counts[i])
    for place, common in enumerate(by_count):
        for rare in by_count[place + 1 :]:
            a, b = key(look.found[common]), key(look.found[rare])
            if a != b and counts[rare] * 5 <= counts[common] and _a_letter_apart(a, b):
                what = f"{look.found[rare]!r} ({counts[rare]} rows) looks like {look.found[common]!r}"
                pairs.append(f"{what} ({counts[common]} rows)")
    return pairs


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
