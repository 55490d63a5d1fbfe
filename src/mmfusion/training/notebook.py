"""Reporter of a run in a notebook: bars that are redrawn in place."""

import html
import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mmfusion.training.reporter import Bar, Rich

_SECONDS = 0.1
"""Between two drawings of a bar."""


class _HtmlBar:
    def __init__(self, text: str, total: int | None, draw: Callable[[str], None]) -> None:
        self._text, self._draw = text, draw
        self._done, self._total, self._note = 0, total, ""
        self._drawn = 0.0
        self._show()

    def advance(self, note: str = "") -> None:
        self._note = note or self._note
        self._done += 1
        self._show()

    def at(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        self._show()

    def _show(self) -> None:
        if time.monotonic() - self._drawn < _SECONDS:
            return
        self._drawn = time.monotonic()
        value = f' value="{self._done}" max="{self._total}"' if self._total else ""
        count = f"{self._done}/{self._total}" if self._total else str(self._done)
        words = html.escape(f"{self._text} {count} {self._note}")
        self._draw(f"<progress{value}></progress> <code>{words}</code>")


class Notebook(Rich):
    """Bars in HTML, gone when done; lines and tables as a rich console has them.

    Args:
        console: A ``rich.console.Console``.
        translate: Replaces names of settings by arguments in messages.
    """

    @contextmanager
    def bar(self, text: str, total: int | None) -> Iterator[Bar]:
        """A bar that is redrawn in its cell, without widgets."""
        display = importlib.import_module("IPython.display")
        handle: Any = display.display(display.HTML(""), display_id=True)
        try:
            yield _HtmlBar(text, total, lambda drawn: handle.update(display.HTML(drawn)))
        finally:
            handle.update(display.HTML(""))
