"""Reporters of a run: bars on a terminal, plain lines elsewhere, or silence.

The loop knows only the protocol; nothing below the command line prints.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, runtime_checkable


class Bar(Protocol):
    """Progress of one piece of work."""

    def advance(self, note: str = "") -> None:
        """One step is done; a note that is empty leaves the former one."""

    def at(self, done: int, total: int) -> None:
        """So many of so many are done."""


@runtime_checkable
class Reporter(Protocol):
    """What a run needs for speaking."""

    def say(self, text: str) -> None:
        """One line that stays."""

    def show(self, renderable: Any) -> None:
        """A table, or anything else that rich renders."""

    def working(self, text: str) -> AbstractContextManager[None]:
        """Something of unknown length goes on inside."""

    def bar(self, text: str, total: int | None) -> AbstractContextManager[Bar]:
        """``total`` steps go on inside; None: nobody knows yet."""


class _NoBar:
    def advance(self, note: str = "") -> None:
        pass

    def at(self, done: int, total: int) -> None:
        pass


class Silent:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def show(self, renderable: Any) -> None:
        """Nothing."""

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Nothing."""
        yield

    @contextmanager
    def bar(self, text: str, total: int | None) -> Iterator[Bar]:
        """Nothing."""
        yield _NoBar()


class _RichBar:
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress = progress
        self._task = task
        self._note = ""

    def advance(self, note: str = "") -> None:
        self._note = note or self._note
        self._progress.update(self._task, advance=1, note=self._note)

    def at(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


class Rich:
    """Speaks through a rich console; bars only where the console is a terminal.

    Args:
        console: A ``rich.console.Console``.
        translate: Replaces names of options by flags in messages.
    """

    def __init__(self, console: Any, translate: Callable[[str], str] = str) -> None:
        self._console = console
        self._translate = translate

    def say(self, text: str) -> None:
        """One line, as it is: neither markup nor colours of numbers, and not wrapped."""
        self._console.print(self._translate(text), markup=False, highlight=False, soft_wrap=True)

    def show(self, renderable: Any) -> None:
        """Whatever rich can render."""
        self._console.print(renderable)

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """A spinner, or a line."""
        if self._console.is_terminal:
            from rich.text import Text

            with self._console.status(Text(text)):
                yield
        else:
            self.say(f"{text} ...")
            yield

    @contextmanager
    def bar(self, text: str, total: int | None) -> Iterator[Bar]:
        """A bar with the time left, gone when done; elsewhere a line, and for known steps nothing."""
        if not self._console.is_terminal:
            if total is None:
                self.say(f"{text} ...")
            yield _NoBar()
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            yield _RichBar(progress, progress.add_task(text, total=total, note=""))
