"""Pages from templates, as HTML and as Markdown."""

import html
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.canvas import clean
from mmfusion.comparison.report.table_width import ALWAYS, SCREENS, stacking
from mmfusion.utils.optional import need

_LONG = 28
"""Characters that fit next to a label."""
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")


def escape(text: str) -> str:
    """Text on one line in which nothing is Markdown."""
    return _SPECIAL.sub(r"\\\1", " ".join(clean(text).replace("&", "&amp;").split())).replace("\\<", "&lt;")


def _kinds(rows: Sequence[Sequence[str]], columns: Sequence[str], n_numeric: int) -> list[str]:
    """Class of the cells of each column: numbers, or text of which some is too long to stand next to its label."""
    first = len(columns) - n_numeric
    long = [any(len(str(row[number])) > _LONG for row in rows) for number in range(len(columns))]
    return [' class="n"' if n >= first else ' class="long"' if long[n] else "" for n in range(len(columns))]


def rendered(page: str, format: str, values: Mapping[str, Any]) -> str:
    """A page in one format: what is no text or markup of the templates' own is escaped.

    Args:
        page: Name of its template.
        format: ``html`` or ``markdown``.
        values: For the template.
    """
    jinja2, markup = need("jinja2", "bench"), need("markupsafe", "bench").Markup
    escaped: Callable[[str], str] = escape if format == "markdown" else lambda text: html.escape(clean(text))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, markup) else markup(escaped(str(value))),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["flow"] = lambda text: markup(" ".join(text.split()))
    environment.filters["metric"] = formatting.metric
    environment.filters["stacking"] = stacking
    environment.filters["kinds"] = lambda rows, *of: [markup(text) for text in _kinds(rows, *of)]
    environment.globals["screens"] = (*SCREENS, ALWAYS)
    blocks = environment.get_template(f"{format}.jinja").module
    template = environment.get_template(f"{page}.jinja")
    text: str = template.render(doc=blocks, words=formatting, **values)
    return text
