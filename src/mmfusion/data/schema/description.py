"""Description of a schema: one line per column with kind and reason."""

from collections.abc import Iterable, Sequence

from mmfusion.data.schema.columns import Column, FlagColumn, NumericalColumn
from mmfusion.data.schema.inference import Decision, listed


def describe(columns: Iterable[Column], decisions: Sequence[Decision], remarks: Iterable[str]) -> str:
    """One line per column, with columns that are left out at the end, then the remarks.

    Args:
        columns: The fitted columns.
        decisions: The decision on each column of the table.
        remarks: Remarks for the user.
    """
    columns, by_name = list(columns), {decision.name: decision for decision in decisions}
    kept = [(c.name, c.kind, _reason(c, by_name.get(c.source))) for c in columns]
    sources = {column.source for column in columns}
    left_out = [
        (
            decision.name,
            "left out",
            decision.reason if decision.kind == "drop" else f"{decision.kind}: {decision.reason}",
        )
        for decision in decisions
        if decision.name not in sources
    ]
    width = max((len(name) for name, *_ in [*kept, *left_out]), default=0)
    lines = [f"{name:<{width}}  {kind:<11}  {reason}" for name, kind, reason in [*kept, *left_out]]
    return "\n".join([*lines, *(f"! {remark}" for remark in remarks)])


def _reason(column: Column, decision: Decision | None) -> str:
    """The reason for a column's kind, with the range of numbers or the categories."""
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
