"""How tests run over the members of a family."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest

EXHAUSTIVE = (pytest.mark.slow, pytest.mark.exhaustive)
"""Marks of members that go through the code that others of their family go through; ``pytest -m exhaustive``."""

every_compiler = pytest.mark.parametrize(
    "backend", [pytest.param("eager", marks=pytest.mark.slow), pytest.param("aot_eager", marks=EXHAUSTIVE)]
)
"""One graph without a break, as it is; and, at twice the time, with its backward traced too."""


def within(argument: str, values: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: one test runs for all values of an argument, where a test of each would cost more than it does.

    An error says for which value it came.
    """
    values = tuple(values)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(test)
        others = signature.replace(parameters=[p for name, p in signature.parameters.items() if name != argument])

        @functools.wraps(test)
        def run(*positional: Any, **named: Any) -> None:
            arguments = others.bind(*positional, **named).arguments
            for value in values:
                try:
                    test(**arguments, **{argument: value})
                except Exception as error:
                    error.add_note(f"{argument} = {value!r}")
                    raise

        del run.__wrapped__
        run.__signature__ = others  # type: ignore[attr-defined]  # pytest and hypothesis read it
        return run

    return decorate
