"""Inference of the columns' kinds from their cells, with reasons."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from mmfusion.data.schema.cell_survey import MOST_CATEGORIES, MOST_LEVELS, CellSurvey, few, survey_cells
from mmfusion.data.schema.cells import BOOLEANS, Floats, distinct, key, one_column
from mmfusion.data.schema.dates import date_format, date_formats, is_year, looks_like_date
from mmfusion.data.schema.known_orders import in_order, scale_of
from mmfusion.data.schema.number_cells import Remark
from mmfusion.data.schema.numerals import has_several_numbers, is_ratio, units_of

Override: TypeAlias = str | Mapping[str, Any]
"""A kind, or ``"drop"``, or a mapping of options, with ``kind`` if it is not to be inferred."""

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
    """The decision on one column.

    Attributes:
        name: The column.
        kind: One of :data:`KINDS`; ``"text"`` and ``"drop"`` are left out of the schema.
        reason: The reason, with figures; it quotes no cell, since it is saved to files.
        options: Options for fitting the column.
        remarks: Remarks for the user: similar spellings, ambiguous dates; not saved to files.
        clean: Whether no cell needs a remark.
    """

    name: str
    kind: str
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[Remark, ...] = field(default=(), compare=False)
    clean: bool = field(default=False, compare=False)


def infer_columns(
    frame: pd.DataFrame, overrides: Mapping[str, Override] | None = None, *, drop: Collection[str] = ()
) -> list[Decision]:
    """Decide on every column of a table.

    Args:
        frame: All rows of a dataset: kinds do not depend on labels, and all folds need the same.
        overrides: By column, a kind or options that are not inferred.
        drop: Columns that are not features: labels, groups, file names; as a mapping, each with the reason.

    Returns:
        One decision per column, in the table's order.

    Raises:
        ValueError: If the table has no rows or two columns of one name, or an override has an unknown column or kind.
    """
    overrides = dict(overrides or {})
    names = [str(name) for name in frame.columns]
    if not len(frame):
        raise ValueError("the table has no rows: kinds of columns cannot be inferred")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"the table has several columns called {twice}: rename or remove all but one of each")
    if unknown := sorted({*overrides, *drop} - set(names)):
        raise ValueError(f"the table has no column {unknown}; its columns are: {', '.join(names)}")
    decisions: list[Decision] = []
    contents: dict[bytes, str] = {}
    for name in names:
        if name in drop and name not in overrides:
            decisions.append(Decision(name, "drop", drop[name] if isinstance(drop, Mapping) else "is not a feature"))
            continue
        decision = _given(name, overrides[name]) if name in overrides else None
        if decision is None or not decision.kind:
            options = {} if decision is None else dict(decision.options)
            column = one_column(frame, name)
            survey = survey_cells(column, options)
            twin = contents.setdefault(_content(survey, column), name)
            if twin != name and survey.n_present:
                decision = Decision(name, "drop", f"has the same cells as {twin!r}")
            else:
                decision = _decide(name, survey, options)
                # Invalid dates are only detected when they are parsed.
                decision = replace(decision, clean=survey.clean and decision.kind != "date")
        decisions.append(decision)
    return decisions


def _given(name: str, override: Override) -> Decision:
    options = {"kind": override} if isinstance(override, str) else dict(override)
    kind = options.pop("kind", "")
    if kind and kind not in KINDS:
        raise ValueError(f"column {name!r} expects one of the kinds {', '.join(KINDS)}, got {kind!r}")
    if kind in ("numerical", "date", "ratio") or not kind:
        options.setdefault("invalid", "missing")
    return Decision(name, kind, "as given", options)


def _content(survey: CellSurvey, column: "pd.Series") -> bytes:
    """A digest that is equal for columns of equal cells."""
    if survey.cells is not None and not survey.n_censored and survey.invalid is None:
        # One bit pattern for both zeros, and one for all NaNs.
        cells: Any = np.where(np.isnan(survey.cells), np.nan, survey.cells + 0.0)
    else:
        codes, texts = (survey.codes, survey.texts) if survey.values is None else distinct(column)
        cells = np.append(pd.util.hash_array(np.array(texts, dtype=object)), 0)[codes]
        cells = np.where(codes < 0, 0, cells)
    return hashlib.blake2b(cells.tobytes(), digest_size=16).digest()


def _decide(name: str, survey: CellSurvey, options: Mapping[str, Any]) -> Decision:
    n_present, n_values = survey.n_present, len(survey.texts) if survey.values is None else len(survey.values)
    if not n_present:
        return Decision(name, "drop", "has no value in any row")
    if n_values == 1:
        return Decision(name, "drop", "has only one value")
    keys = {key(text) for text in survey.texts[: 2 * len(BOOLEANS)]}
    boolean = n_values <= 2 * len(BOOLEANS) and keys <= set(BOOLEANS) and len({BOOLEANS[k] for k in keys}) == 2
    if boolean and survey.plain and survey.invalid is None:
        return Decision(name, "boolean", f"its values are {listed(survey.texts)}", _of_categories(options))
    if survey.values is not None:
        return _decide_number(name, survey, survey.values, options)
    return _decide_date(name, survey, options) or _decide_text(
        name, survey, n_present, n_values, _of_categories(options)
    )


def _of_categories(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "invalid"}


def _decide_number(name: str, survey: CellSurvey, values: Floats, options: Mapping[str, Any]) -> Decision:
    n_values, low, high = len(values), float(values.min()), float(values.max())
    if survey.whole and _IDENTIFIER.fullmatch(name) and n_values > MOST_LEVELS:
        return Decision(name, "drop", f"looks like an identifier by its name: {n_values} whole numbers")
    if survey.whole and float(np.median(np.abs(values))) >= _EXACT:
        return Decision(name, "drop", f"looks like an identifier: {n_values} whole numbers of 16 digits or more")
    few_levels = n_values <= MOST_LEVELS and survey.n_present >= 10 * n_values and high - low < 2 * MOST_LEVELS
    if survey.whole and survey.plain and few_levels:
        chosen = _of_categories(options) | ({} if survey.invalid is None else {"numbers_only": True})
        return Decision(name, "ordinal", f"{n_values} whole numbers", chosen)
    written, remarks = _how_written(name, survey, options)
    # No range here: that of all cells could be a telephone number; the fitted column has that of the training rows.
    return Decision(name, "numerical", f"{n_values} numbers", {"invalid": "missing", **written, **options}, remarks)


def _how_written(
    name: str, survey: CellSurvey, options: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[Remark, ...]]:
    """Options for fitting a column of numbers, and remarks."""
    notation = survey.notation
    written, remarks = asdict(notation), []
    if notation.decimal == "," and "decimal" not in options:
        more = ", and points separate thousands" if notation.thousands else ""
        remarks.append(Remark(name, f"commas are read as decimal marks{more}"))
    if notation.suffix and "suffix" not in options:
        remarks.append(Remark(name, f"the unit {notation.suffix!r} is removed from its cells"))
        if "unit" not in options:
            written["unit"] = notation.suffix
    return written, tuple(remarks)


def _decide_date(name: str, survey: CellSurvey, options: Mapping[str, Any]) -> Decision | None:
    """The decision for a date, if all but a few texts are dates."""
    fmt = options.get("date_format") or date_format(survey.texts)
    if fmt is not None:
        remarks: tuple[Remark, ...] = ()
        if fmt.startswith("%d") and not any(int(re.split(r"[-./]", text)[0]) > 12 for text in survey.texts):
            remarks = (Remark(name, f"the order of day and month is ambiguous; dates are read as {fmt}"),)
        chosen = {"invalid": "missing", "date_format": fmt, **options}
        return Decision(name, "date", f"{len(survey.texts)} dates, as in {fmt}", chosen, remarks)
    if not any(looks_like_date(text) for text in survey.texts[:50]):
        return None
    counts = np.bincount(survey.codes[survey.codes >= 0], minlength=len(survey.texts))
    formats, fits = date_formats(survey.texts, counts.tolist())
    n_invalid = int(counts[~fits].sum())
    if not formats or not few(n_invalid, survey.n_present, int((~fits).sum()), int(fits.sum())):
        return None
    if all(is_year(text) for text, is_date in zip(survey.texts, fits, strict=True) if is_date):
        return None
    reason = f"{int(fits.sum())} dates in {len(formats)} format{'s' if len(formats) > 1 else ''}"
    remark = Remark(name, f"dates are read as {', '.join(formats)}; a year or month alone is its first day")
    chosen = {"invalid": "missing", "date_format": formats[0], "more_formats": formats[1:], **options}
    return Decision(name, "date", reason, chosen, (remark,) if len(formats) > 1 else ())


def _decide_text(name: str, survey: CellSurvey, n_present: int, n_values: int, options: Mapping[str, Any]) -> Decision:
    shown = survey.texts[:100]
    if sum(_FILE.fullmatch(text) is not None for text in shown) > len(shown) / 2:
        return Decision(name, "drop", "names files")
    hints = tuple(Remark(name, hint) for hint in _hints(name, survey, shown))
    n_categories = len({key(text) for text in survey.texts})
    repeated = n_present >= 2 * n_categories
    if _IDENTIFIER.fullmatch(name) and (n_categories > MOST_LEVELS or not repeated):
        return Decision(
            name, "drop", f"looks like an identifier by its name: {n_categories} values in {n_present} rows"
        )
    if n_categories <= MOST_CATEGORIES and (repeated or n_categories <= MOST_LEVELS):
        remarks = (*(Remark(name, _LOOK_ALIKE, pair) for pair in _look_alikes(survey)), *hints)
        if n_categories == n_values and scale_of(in_order(survey.texts)) is not None:
            return Decision(name, "ordinal", f"{n_categories} levels", options, remarks)
        return Decision(name, "categorical", f"{n_categories} values", options, remarks)
    if sum(" " in text for text in shown) > len(shown) / 2 and not hints:
        return Decision(name, "text", f"free text, {n_categories} different texts in {n_present} rows")
    reason = "looks like an identifier" if not hints else "is neither numbers nor categories"
    return Decision(name, "drop", f"{reason}: {n_categories} values in {n_present} rows", remarks=hints)


def _hints(name: str, survey: CellSurvey, shown: Sequence[str]) -> list[str]:
    """Hints how a column could become one of numbers."""
    if sum(map(is_ratio, shown)) > 0.9 * len(shown):
        return [f"its cells are ratios: overrides={{{name!r}: 'ratio'}} reads them as two columns of numbers"]
    if len(survey.texts) > MOST_LEVELS and sum(map(has_several_numbers, shown)) > 0.9 * len(shown):  # no bands of age
        return ["its cells hold several numbers each, as a mean with its error does: give each a column of its own"]
    units = units_of(shown)
    if sum(units.values()) > 0.9 * len(shown) and len(units) > 1:
        return [f"its numbers have {len(units)} different units: convert them to one unit to use them as numbers"]
    if 2 * survey.n_numbers > survey.n_present and len(survey.texts) > MOST_LEVELS:
        return [
            f"{survey.n_numbers} of {survey.n_present} cells are numbers: overrides={{{name!r}: 'numerical'}} reads it "
            "as numbers, with the other cells missing"
        ]
    return []


def _look_alikes(survey: CellSurvey) -> list[str]:
    """Pairs of values that may be misspellings: they differ by a letter, and one is far rarer than the other."""
    counts = np.bincount(survey.codes[survey.codes >= 0], minlength=len(survey.texts))
    pairs = []
    by_count = sorted(range(len(survey.texts)), key=lambda i: -counts[i])
    for place, common in enumerate(by_count):
        for rare in by_count[place + 1 :]:
            a, b = key(survey.texts[common]), key(survey.texts[rare])
            if a != b and counts[rare] * 5 <= counts[common] and _a_letter_apart(a, b):
                what = f"{survey.texts[rare]!r} ({counts[rare]} rows) looks like {survey.texts[common]!r}"
                pairs.append(f"{what} ({counts[common]} rows)")
    return pairs


def _a_letter_apart(a: str, b: str) -> bool:
    short, long = sorted((a, b), key=len)
    if len(short) < 5 or len(long) - len(short) > 1 or re.search(r"\d", long):
        return False
    differ = next((i for i, (first, second) in enumerate(zip(short, long)) if first != second), len(short))
    rest = short[differ:] if len(short) < len(long) else short[differ + 1 :]
    return rest == long[differ + 1 :]


def listed(values: Sequence[str], most: int = 8) -> str:
    """The first values, shortened, and the number of further ones."""
    shown = ", ".join(value if len(value) <= 24 else value[:21] + "..." for value in values[:most])
    return shown + (f" and {len(values) - most} more" if len(values) > most else "")
