"""A schema in lines for people: each column with its kind and why."""

from collections.abc import Iterable, Sequence

from mmfusion.data.schema.columns import Column, FlagColumn, NumericalColumn
from mmfusion.data.schema.inference import Decision, listed


def describe(columns: Iterable[Column], decisions: Sequence[Decision], remarks: Iterable[str]) -> str:
    """One line per column, those left out at the end; then the remarks.

    Args:
        columns: The fitted columns.
        decisions: What was decided of each column of the table.
        remarks: What a reader should look at.
    """
    columns, decided = list(columns), {one.name: one for one in decisions}
    kept = [(c.name, c.kind, _reason(c, decided.get(c.source))) for c in columns]
    sources = {column.source for column in columns}
    out = [
        (one.name, "left out", one.reason if one.kind == "drop" else f"{one.kind}: {one.reason}")
        for one in decisions
        if one.name not in sources
    ]
    width = max((len(name) for name, *_ in [*kept, *out]), default=0)
    lines = [f"{name:<{width}}  {kind:<11}  {reason}" for name, kind, reason in [*kept, *out]]
    return "\n".join([*lines, *(f"! {remark}" for remark in remarks)])


def _reason(column: Column, decision: Decision | None) -> str:
    """Why a column is what it is, of numbers their range, and of categories which are named."""
    if isinstance(column, NumericalColumn):
        span = f"from {column.low:g} to {column.high:g}"
        if decision is None:
            return f"{span}, mean {column.mean:g}"
        if column.kind == "date":
            return decision.reason
        comma = "" if decision.reason.endswith("numbers") else ","
        return f"{decision.reason}{comma} {span}{' ' * bool(column.suffix)}{column.suffix}"
    if isinstance(column, FlagColumn):
        return f"whether a number of {column.number.name!r} is a bound: {listed(column.categories)}"
    reason = decision.reason if decision else f"{len(column.categories)} values"
    return reason if column.kind == "boolean" else f"{reason}: {listed(column.categories)}"
