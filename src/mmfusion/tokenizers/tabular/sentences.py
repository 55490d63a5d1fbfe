"""Sentences of cells: a finite number per column."""

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import NamedTuple

from mmfusion.spec import Columns, Wording


class Grid(NamedTuple):
    """The values of a numerical column that have a sentence, in the column's own unit.

    Attributes:
        low: The first.
        step: Between two.
        n: How many.
    """

    low: float
    step: float
    n: int


def worded(columns: Columns, templates: Mapping[str, str] | None = None) -> tuple[Wording, ...]:
    """A wording for each column, in the order of the names: its own, or the default, with the template replaced.

    Args:
        columns: The modality.
        templates: By column; see :class:`~mmfusion.spec.Wording`.

    Raises:
        ValueError: If a template is for a column that is not there, or is not one.
    """
    templates = dict(templates or {})
    if unknown := sorted(set(templates) - set(columns.names)):
        raise ValueError(f"templates are for the columns {columns.names}, got some for {unknown}")
    wordings = columns.wordings or tuple(Wording() for _ in columns.names)
    return tuple(
        replace(wording, template=templates[name]) if name in templates else wording
        for name, wording in zip(columns.names, wordings, strict=True)
    )


def grid(wording: Wording, n_values: int) -> Grid:
    """From the lowest to the highest value in steps, wide enough that there are at most ``n_values``.

    Where no range is known, four deviations to either side of the mean.
    """
    low, high, step = wording.low, wording.high, wording.step
    if not low < high:
        low, high = wording.mean - 4 * wording.std, wording.mean + 4 * wording.std
        low = math.floor(low / step) * step if step else low
    if not step:
        return Grid(low, (high - low) / (n_values - 1), n_values)
    # One at least: a range far below the step, as of values near 1e-213, is a step wide.
    n_steps = max(1, math.ceil((high - low) / step - 1e-6))
    wider = math.ceil(n_steps / (n_values - 1))
    return Grid(low, wider * step, math.ceil(n_steps / wider) + 1)


def number_text(value: float, step: float, known: bool) -> str:
    """A number as people write it: with as many decimals as tell neighbours apart, and no trailing zeros.

    Args:
        value: The number.
        step: What it is a multiple of, or how far its neighbour is.
        known: Which of the two.
    """
    # A little less than the step: neighbours exactly one unit of the last place apart may round to the same text.
    exponent = Decimal(repr(step)).normalize().as_tuple().exponent if known else math.floor(math.log10(0.999 * step))
    decimals = min(max(0, -int(exponent)), 12)
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def number_sentences(name: str, wording: Wording, of: Grid) -> list[str]:
    """One sentence a value of the grid."""
    step = wording.step or of.step
    return [
        wording.sentence(name, number_text(of.low + i * of.step, step, known=bool(wording.step))) for i in range(of.n)
    ]


def category_sentences(name: str, wording: Wording, n: int) -> list[str]:
    """One sentence a category; where their names are not known, ``"category 0"`` and so on."""
    return [wording.sentence(name, value) for value in wording.categories or [f"category {i}" for i in range(n)]]
