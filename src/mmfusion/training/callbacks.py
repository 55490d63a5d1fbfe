"""Callbacks: what a user logs of a training, while it goes on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from mmfusion.training import processes

Entry: TypeAlias = Mapping[str, Any]
"""An epoch of ``history.json``: ``epoch``, ``phase``, ``lr``, ``losses``, ``validation``, ``seconds`` and others."""


class Callback:
    """A logger; a subclass overrides what it needs. Of several processes only the main one calls it.

    An error of a callback ends the run, which can be resumed after its last epoch.
    """

    def begin(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """The training begins, or continues after an interruption.

        Args:
            folder: Of the run.
            settings: All of them, by section.
        """

    def epoch(self, entry: Entry) -> None:
        """An epoch is done and saved.

        Args:
            entry: Its losses and validation metrics; None where a metric is undefined.
        """

    def end(self, metrics: Mapping[str, Any] | None) -> None:
        """The run ends, in whichever way.

        Args:
            metrics: The content of ``metrics.json``; None if the run was interrupted or failed.
        """


class _OfFunction(Callback):
    def __init__(self, function: Callable[[Entry], object]) -> None:
        self._function = function

    def epoch(self, entry: Entry) -> None:
        self._function(entry)


class Calls:
    """The callbacks of a run.

    Args:
        callbacks: In the order in which they are called; of a function, at each epoch.

    Attributes:
        metrics: Of the finished run; set before its end.

    Raises:
        ValueError: If one is neither a :class:`Callback` nor a function.
    """

    def __init__(self, callbacks: "Sequence[Callback | Callable[[Entry], object]]" = ()) -> None:
        self.metrics: Mapping[str, Any] | None = None
        self._callbacks: list[Callback] = []
        for callback in callbacks:
            if not isinstance(callback, Callback) and (isinstance(callback, type) or not callable(callback)):
                raise ValueError(
                    "callbacks expects functions of an epoch's entry, and objects of subclasses of mmfusion.Callback, "
                    f"got {callback!r}"
                )
            self._callbacks.append(callback if isinstance(callback, Callback) else _OfFunction(callback))

    @contextmanager
    def around(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
        """Begin before what is inside, and end after it; each that began ends, whatever the others do."""
        called = self._callbacks if processes.is_main() else []
        begun: list[Callback] = []
        try:
            for callback in called:
                begun.append(callback)
                callback.begin(folder, settings)
            yield
        finally:
            self._end(begun)

    def epoch(self, entry: Entry) -> None:
        """An epoch is done."""
        if processes.is_main():
            for callback in self._callbacks:
                callback.epoch(entry)

    def _end(self, begun: list[Callback]) -> None:
        if begun:
            try:
                begun[0].end(self.metrics)
            finally:
                self._end(begun[1:])


def numbers(entry: Entry) -> dict[str, float]:
    """An epoch's numbers by flat names: ``loss/<term>``, ``validation/<metric>``, ``lr`` and ``seconds``; without
    those that are undefined.
    """
    flat = {f"loss/{name}": value for name, value in entry["losses"].items()}
    flat |= {f"validation/{name}": value for name, value in entry["validation"].items()}
    flat |= {name: entry[name] for name in ("lr", "seconds")}
    return {name: float(value) for name, value in flat.items() if value is not None}


def results(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The test metrics of a finished run by flat names, ``test/<metric>``; of a trial, those of validation."""
    part = "test" if "test" in metrics else "validation"
    values = {f"{part}/{name}": metric["value"] for name, metric in metrics[part].items()}
    return {name: float(value) for name, value in values.items() if value is not None}
