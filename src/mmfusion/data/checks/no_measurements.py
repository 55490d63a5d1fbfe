"""Cells that are no measurements: sentinels for missing values, and numbers in another unit."""

from collections.abc import Iterator

import numpy as np

from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.finding import Finding, in_rows, rows_where
from mmfusion.data.schema.cells import Floats, distinct, key, one_column, parse_numbers

_SENTINELS = frozenset(
    [
        -1.0,
        -2.0,
        -3.0,
        -7.0,
        -8.0,
        -9.0,
        *(sign * float(digit * n) for digit in "789" for n in (1, 2, 3, 4, 5) for sign in (1, -1)),
    ]
)
"""Numbers by which statistics programs and forms mark a missing answer."""
_BEYOND = 1.0, 0.5
"""Distance of a sentinel from all other values, in widths of their range: in one or two rows, and in more."""
_GAP, _OTHERS = 3.0, 3
"""Least distance; and fewest other values among which the only negative one is a sentinel."""
_WORDS = frozenset(
    {"-", "--", "---", ".", "..", "x", "xx", "xxx", "nd", "n.d.", "nk", "n.k.", "not known", "not done", "not recorded"}
    | {"not applicable", "refused", "declined", "pending", "tbd", "tba", "blank", "empty", "no data", "not tested"}
    | {"not reported", "unspecified", "k.a.", "keine angabe", "inconnu", "desconocido", "ne", "not evaluated"}
)
"""Words that mean a missing answer, and that a table may mean otherwise: they count as a category."""
_FACTORS = {
    2.2046: "kilograms and pounds",
    2.54: "centimeters and inches",
    10.0: "a factor of 10, as millimeters and centimeters",
    12.0: "months and years",
    18.0: "mmol/l and mg/dl of glucose",
    38.67: "mmol/l and mg/dl of cholesterol",
    88.4: "µmol/l and mg/dl of creatinine",
    100.0: "a factor of 100, as centimeters and meters",
    1000.0: "a factor of 1000, as grams and milligrams",
}
_NEAR = 0.15
"""Largest relative difference of a ratio of medians from one of these factors."""
_FEWEST = 10
"""Columns of fewer numbers are not searched for units."""


def cell_findings(cohort: Cohort) -> list[Finding]:
    """Findings on cells of the features: sentinels, words for missing, two units, and the schema's remarks."""
    if cohort.schema is None:
        remarks = [remark for decision in cohort.decisions for remark in decision.remarks]
        return [Finding("cells", str(remark), remark.fix) for remark in remarks]
    findings = [Finding("cells", str(remark), remark.fix) for remark in cohort.schema.remarks_on(cohort.frame)]
    for column in cohort.schema.numerical:
        if column.kind == "numerical" and not column.part and column.source in cohort.frame.columns:
            values = column.values(cohort.frame)
            findings += [*_sentinels(cohort, column.source, values), *_units(cohort, column.source, values)]
    for category in cohort.schema.categorical:
        if category.source in cohort.frame.columns:
            findings += _of_categories(cohort, category.source, category.missing)
    return findings


def _sentinels(cohort: Cohort, name: str, values: Floats) -> Iterator[Finding]:
    known = values[~np.isnan(values)]
    sentinels = sentinels_of(known)
    others = known[~np.isin(known, sentinels)]
    for sentinel in sentinels:
        rows = rows_where(cohort.frame, values == sentinel)
        text = (
            f"column {name!r} has {sentinel:g} in {in_rows(rows)} ({len(rows)} cell{'s' * (len(rows) > 1)}), and all "
            f"others from {others.min():g} to {others.max():g}: it seems to mean missing, and counts as a number"
        )
        yield Finding("sentinels", text, _missing(name, f"{sentinel:g}"), rows)


def sentinels_of(values: Floats) -> list[float]:
    """Values that seem to mean a missing one: -9 among positive numbers, 999 far above all others.

    Args:
        values: Shape ``(n,)``, without NaN.
    """
    unique, counts = np.unique(values, return_counts=True)
    left, n_cells = unique.tolist(), dict(zip(unique.tolist(), counts.tolist()))
    found: list[float] = []
    while len(left) > 2:
        for place in (0, -1):
            extreme, rest = left[place], left[1:] if place == 0 else left[:-1]
            least = min((value for value in rest if value not in _SENTINELS), default=-1.0)
            is_alone = extreme < 0 <= least and len(rest) >= _OTHERS
            gap, beyond = abs(extreme - rest[place]), _BEYOND[n_cells[extreme] > 2]
            if extreme in _SENTINELS and (is_alone or gap > max(_GAP, beyond * (rest[-1] - rest[0]))):
                found.append(extreme)
                left = rest
                break
        else:
            break
    return found


def _units(cohort: Cohort, name: str, values: Floats) -> list[Finding]:
    """A finding if the numbers are in two clusters whose medians differ by a factor between units."""
    values = np.where(np.isin(values, sentinels_of(values[~np.isnan(values)])), np.nan, values)
    positive = np.sort(values[values > 0])
    if len(positive) < _FEWEST or len(positive) < np.count_nonzero(~np.isnan(values)):
        return []
    ratios = positive[1:] / positive[:-1]
    cut = int(np.argmax(ratios)) + 1
    low, high = positive[:cut], positive[cut:]
    if max(low[-1] / low[0], high[-1] / high[0]) > ratios[cut - 1] or min(len(low), len(high)) < 2:
        return []
    ratio = float(np.median(high) / np.median(low))
    factor = min(_FACTORS, key=lambda known: abs(ratio / known - 1))
    if abs(ratio / factor - 1) > _NEAR:
        return []
    few, of_few = (low, "low") if len(low) <= len(high) else (high, "high")
    rows = rows_where(cohort.frame, np.isin(values, few))
    text = (
        f"column {name!r} may be in two units: {len(low)} numbers from {low[0]:g} to {low[-1]:g}, {len(high)} from "
        f"{high[0]:g} to {high[-1]:g}, whose medians differ by {ratio:.3g} ({_FACTORS[factor]}); the {of_few} ones are "
        f"in {in_rows(rows)}"
    )
    return [Finding("units", text, "Convert them to one unit in the table", rows)]


def _of_categories(cohort: Cohort, name: str, missing: tuple[str, ...]) -> Iterator[Finding]:
    codes, words = distinct(one_column(cohort.frame, name), missing)
    numbers = parse_numbers(words)
    as_numbers = sentinels_of(numbers) if words and not np.isnan(numbers).any() else []
    for code, word in enumerate(words):
        if key(word) in _WORDS or numbers[code] in as_numbers:
            rows = rows_where(cohort.frame, codes == code)
            text = (
                f"column {name!r} has {word!r} in {in_rows(rows)}: it seems to mean missing, and counts as a category"
            )
            yield Finding("sentinels", text, _missing(name, word), rows)


def _missing(name: str, cell: str) -> str:
    return f"If it does: overrides={{{name!r}: {{'missing': [{cell!r}]}}}}"
