"""Parsing of numbers with units, percent signs and separators, and of bounds such as ``<0.5``."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.schema.cells import Floats, decimal_mark, key, parse_numbers

LARGEST = float(np.finfo(np.float32).max)
"""The largest number that a model can take."""

Bounds = NDArray[np.int8]

_NUMBER = r"[+\-\u2212]?(?:\d+(?:[.,'\u2019 ]\d+)*(?:[.,](?![^\W\d_]))?|[.,]\d+)(?:[eE][+\-]?\d+)?"
# A unit begins with no digit, and neither continues the number nor makes a ratio or a range of it.
_UNIT = r"(?:[^\W\d_]|[%‰°µ$€£¥]|/(?!\s*\d)|[x\u00d7]\s?10)[^<>=]{0,23}"
_BELOW = r"<=|=<|<|≤|less than|below|under|up to|at most"
_ABOVE = r">=|=>|>|≥|more than|greater than|above|over|at least"
_CELL = re.compile(
    rf"(?:(?P<below>{_BELOW})|(?P<above>{_ABOVE}))?\s*(?P<coin>[$€£¥])?\s*(?P<number>{_NUMBER})\s*"
    rf"(?:(?P<more>\+)|(?P<unit>{_UNIT}))?",
    re.IGNORECASE,
)
_RATIO = re.compile(rf"(?P<first>{_NUMBER})\s*/\s*(?P<second>{_NUMBER})\s*(?P<unit>{_UNIT})?")
_WITH_ANOTHER = re.compile(rf"{_NUMBER}\s*(?:{_UNIT})?\s*(?:±|\+/?-|\()\s*{_NUMBER}.*")
_RANGE = re.compile(
    rf"(?P<first>{_NUMBER})\s*(?:[-\u2013\u2212]|to)\s*(?P<second>{_NUMBER})\s*(?:{_UNIT})?", re.IGNORECASE
)
_ATOM = (
    r"(?:[kmcdμunpf]?(?:g|l|m|mol|s|hz|u|iu|pa|v|a|w|j|cal|eq|osm|gy|sv|bq|kat)|mmhg|cmh2o|bpm|%|‰|°[cf]?|[cfk]|"
    r"min(?:ute)?|h(?:r|our)?|sec(?:ond)?|d(?:ay)?|w(?:ee)?k|mo(?:nth)?|y(?:r|ear|o)?|yearsold|lb|oz|in|inch|ft|pack|"
    r"py|cell|ppm|[$€£¥]|eur|usd|(?:[x\u00d7]10|10)\^?\d{1,2})[23²³]?"
)
_COMMON_UNIT = re.compile(rf"{_ATOM}(?:[/*·-]?{_ATOM}){{0,3}}")
FEWEST_OF_A_UNIT = 5
"""Fewest cells of an uncommon unit: a schema stores units, and a stray word could be a name."""
_SPACED = re.compile(r"[+-]?\d{1,3}([ '\u2019]\d{3})+([.,]\d*)?")
_THOUSANDS_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_THOUSANDS_POINT = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")


@dataclass(frozen=True)
class Notation:
    """Notation of the numbers in a column.

    Attributes:
        decimal: Decimal mark, a point or a comma.
        thousands: ``"."`` if, with decimal commas, a text such as ``1.234`` is a thousand.
        suffix: Unit that may follow a number, ``"mg"`` or ``"%"``; case, blanks and a plural s are ignored.
        percent: Numbers have a percent sign: a number of at most 1 without it could be a share, and is invalid.
    """

    decimal: str = "."
    thousands: str = ""
    suffix: str = ""
    percent: bool = False


def unit_key(unit: str) -> str:
    """Equal for spellings of one unit: ``mg`` and ``MG``, ``year`` and ``Years``, ``µl`` and ``μl``."""
    folded = key(unit.replace("µ", "μ")).replace(" ", "").rstrip(".")
    return folded[:-1] if len(folded) > 2 and folded.endswith("s") and folded.isalpha() else folded


def read_numbers(texts: Sequence[str], notation: Notation, *, units: Sequence[str] = ()) -> tuple[Floats, Bounds]:
    """Each text as a number.

    Args:
        texts: Texts.
        notation: Their notation.
        units: Further units that may follow a number.

    Returns:
        Numbers ``(len(texts),)``, NaN if a text is not one; and bounds ``(len(texts),)`` int8: -1 if the value is below
        the number (``<0.5``), 1 if it is above it (``>100``, ``90+``), else 0.
    """
    bounds = np.zeros(len(texts), dtype=np.int8)
    plain = list(texts)
    known = {unit_key(unit) for unit in (notation.suffix, *units) if unit}
    for i, text in enumerate(texts):
        match = _CELL.fullmatch(text)
        if match is None:
            continue
        unit = _unit(match)
        plain[i] = _plain(match["number"], notation) if not unit or unit_key(unit) in known else ""
        bounds[i] = -1 if match["below"] else int(match["above"] is not None or match["more"] is not None)
    values = parse_numbers(plain, notation.decimal)
    bounds[np.isnan(values)] = 0
    return values, bounds


def read_ratios(texts: Sequence[str], notation: Notation, part: int) -> Floats:
    """One of the two numbers of each text such as ``120/80``, shape ``(len(texts),)``; NaN if it is not a ratio.

    Args:
        texts: Texts.
        notation: Their notation.
        part: 1 or 2, for the first or second number.
    """
    matches = [_RATIO.fullmatch(text) for text in texts]
    plain = ["" if match is None else _plain(match[part], notation) for match in matches]
    return parse_numbers(plain, notation.decimal)


def is_ratio(text: str) -> bool:
    """Whether a text is two numbers such as ``120/80``."""
    return _RATIO.fullmatch(text) is not None


def has_several_numbers(text: str) -> bool:
    """Whether a text is a number with its error, a range, or a number with another one in brackets: ``50.1±0.3``."""
    if (match := _RANGE.fullmatch(text)) is None:
        return _WITH_ANOTHER.fullmatch(text) is not None
    low, high = parse_numbers([match["first"], match["second"]], decimal_mark([match["first"], match["second"]]))
    return bool(low < high)  # phone numbers and codes have dashes too


def units_of(texts: Sequence[str]) -> Counter[str]:
    """Number of texts with each unit."""
    matches = (_CELL.fullmatch(text) for text in texts)
    return Counter(unit_key(_unit(match)) for match in matches if match is not None and _unit(match))


def _unit(match: re.Match[str]) -> str:
    """The unit after a number, the currency before it, or both together."""
    return f"{match['coin'] or ''}{match['unit'] or ''}"


def _plain(number: str, notation: Notation) -> str:
    """A number in the form that :func:`~mmfusion.data.schema.cells.parse_numbers` accepts."""
    number = number.replace("\u2212", "-")
    if _SPACED.fullmatch(number):
        number = re.sub(r"[ '\u2019]", "", number)
    if notation.thousands == "." and _THOUSANDS_POINT.fullmatch(number):
        number = number.replace(".", "")
    return number


def find_notation(
    texts: Sequence[str], counts: Sequence[int], plain: Sequence[str] = (), values: Floats | None = None
) -> Notation:
    """Infer the notation of a column's numbers from all its cells.

    A comma is a decimal mark, unless all commas can separate thousands and there is evidence for that: a decimal point,
    two commas in a text, or other numbers that are whole, below 1000, and reach 100. The unit is the most frequent one,
    if there is no tie; a single letter attached to a few numbers is not a unit, nor is an uncommon word after fewer
    than :data:`FEWEST_OF_A_UNIT` numbers.

    Args:
        texts: Texts that are not plain numbers.
        counts: Number of cells of each text.
        plain: The other texts, each once.
        values: The plain numbers of all other cells, shape ``(n,)``.
    """
    matches = [_CELL.fullmatch(text) for text in texts]
    cores = [match["number"] for match in matches if match is not None]
    decimal, thousands = _marks(cores, plain)
    units: Counter[str] = Counter()
    spelling: dict[str, Counter[str]] = {}
    without: list[tuple[str, int]] = []
    glued: set[str] = set()
    for match, count in zip(matches, counts, strict=True):
        if match is None:
            continue
        if unit := _unit(match):
            units[unit_key(unit)] += count
            spelling.setdefault(unit_key(unit), Counter())[unit.strip()] += count
            if unit[0].isalpha() and match.end("number") == match.start("unit"):
                glued.add(unit_key(unit))
        else:
            without.append((match["number"], count))
    n_cells = sum(counts) + (0 if values is None else len(values))
    for unit in [unit for unit, n in units.items() if 2 * n <= n_cells and unit in glued and len(unit) == 1]:
        del units[unit]  # "4O" is a typing error
    for unit in [unit for unit, n in units.items() if n < FEWEST_OF_A_UNIT and not _COMMON_UNIT.fullmatch(unit)]:
        del units[unit]
    ranked = units.most_common(2)
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return Notation(decimal, thousands)
    suffix = spelling[ranked[0][0]].most_common(1)[0][0]
    notation = Notation(decimal, thousands, suffix)
    if ranked[0][0] != "%":
        return notation
    bare = [
        np.empty(0) if values is None else values,
        np.repeat(
            read_numbers([text for text, _ in without], notation)[0], np.array([n for _, n in without], dtype=np.int64)
        ),
    ]
    sizes = np.abs(np.concatenate(bare))
    small, large = int((sizes <= 1).sum()), int((sizes > 1).sum())
    if small > large and small > ranked[0][1]:
        return Notation(decimal, thousands)  # mostly shares, a few percent signs: ambiguous
    return Notation(decimal, thousands, suffix, percent=large <= ranked[0][1])


def _marks(cores: Sequence[str], plain: Sequence[str]) -> tuple[str, str]:
    """The decimal mark, and the point if it separates thousands."""
    commas = [core for core in cores if "," in core]
    if not commas:
        points = [core for core in cores if core.count(".") > 1]
        # 1.234.567 implies decimal commas.
        return (",", ".") if points and all(_THOUSANDS_POINT.fullmatch(core) for core in points) else (".", "")
    if decimal_mark(cores) == ".":
        return ".", ""
    others = [text for text in (*plain, *(core for core in cores if "," not in core)) if text]
    pointed = [text for text in others if "." in text]
    if all(_THOUSANDS_COMMA.fullmatch(core) for core in commas) and (pointed or _below_a_thousand(others)):
        return ".", ""
    return ",", "." if could_be_thousands(pointed) and pointed else ""


def could_be_thousands(pointed: Sequence[str]) -> bool:
    """Whether all points can separate thousands: three digits follow each."""
    return all(_THOUSANDS_POINT.fullmatch(text) for text in pointed)


def points_separate(texts: Sequence[str]) -> bool:
    """Whether points separate thousands in texts that are all plain numbers.

    They do if three digits follow each, and the numbers without a point are whole, below 1000, and reach 100.
    """
    pointed = [text for text in texts if "." in text]
    return bool(pointed) and could_be_thousands(pointed) and _below_a_thousand([t for t in texts if "." not in t])


def _below_a_thousand(texts: Sequence[str]) -> bool:
    whole = [abs(int(text)) for text in texts if re.fullmatch(r"[+-]?\d{1,15}", text)]
    return bool(whole) and len(whole) == len(texts) and 100 <= max(whole) < 1000
