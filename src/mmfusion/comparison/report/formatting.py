"""Numbers and names as text."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from mmfusion.comparison.analysis.metric_names import metric as metric
from mmfusion.comparison.analysis.results import Named

KINDS: Mapping[str, str] = {
    "cases and seeds": "paired t-test with the variance of test cases and of training runs",
    "cases": "paired bootstrap of the test cases, of two trained models",
    "corrected resampled t": "corrected resampled t-test (Nadeau and Bengio)",
}
VERDICTS: Mapping[str, str] = {
    "better": "better",
    "worse": "worse",
    "equal": "equal within the margin",
    "no worse": "no worse than by the margin",
    "open": "no significant difference",
    "none": "no verdict",
}
REFERENCES: Mapping[Named, str] = {
    "beforehand": "the reference named beforehand",
    "default": "the default reference",
    "report": "the reference given to this report",
}
NONE = "\u2013"
"""Cell of an unknown value."""

MINUS = "\u2212"


def capitalized(text: str) -> str:
    """The text with a capital at its start, the rest unchanged."""
    return text[:1].upper() + text[1:]


def number(value: float, digits: int = 3) -> str:
    """``0.936``."""
    return NONE if not math.isfinite(value) else f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """``+0.012``, and no sign for what rounds to nothing."""
    if not math.isfinite(value):
        return NONE
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", MINUS)


def interval(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """``0.936 (0.923 to 0.948)``; without what is unknown."""
    form = signed if sign else number
    if not (math.isfinite(low) and math.isfinite(high)):
        return form(value)
    return f"{form(value)} ({form(low)} to {form(high)})"


def p_value(p: float) -> str:
    """``0.021``, ``< 0.001``."""
    if not math.isfinite(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def p_phrase(p: float) -> str:
    """``p = 0.021``, ``p < 0.001``."""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def count(value: float) -> str:
    """``4,787``."""
    return NONE if not math.isfinite(value) else f"{value:,.0f}"


def amount(value: float, digits: int = 3) -> str:
    """Three digits with a letter for the size: ``3.05 M``."""
    if not math.isfinite(value):
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g} {letter}"
    return f"{value:.{digits}g}"


def plural(n: int, singular: str, many: str | None = None) -> str:
    """``1 seed``, ``5 seeds``."""
    return f"{n:,} {singular if n == 1 else many or singular + 's'}"


def listed(items: Iterable[str], most: int = 6) -> str:
    """``a, b and c``; of many only the first."""
    names = list(items)
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def setting(value: Any) -> str:
    """A setting's value."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={setting(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value) or "none"
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
