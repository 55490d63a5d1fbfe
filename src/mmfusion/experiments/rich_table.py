"""Tables on a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from mmfusion.utils.optional import need


def rich_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, caption: str = ""
) -> Any:
    """A ``rich.table.Table`` of plain texts: names may hold brackets, which rich would take for its markup.

    Args:
        title: Above the table.
        columns: Headers.
        rows: Cells.
        left: Number of columns, from the first on, that are aligned to the left.
        caption: Below the table; empty for none.
    """
    need("rich", "bench")
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", caption=Text(caption) if caption else None)
    table.caption_justify = "left"
    for number, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if number < left else "right")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
