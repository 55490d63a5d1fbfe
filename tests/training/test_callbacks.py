from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mmfusion.training.callbacks import Callback, Calls, numbers, results

ENTRY = {
    "epoch": 3,
    "losses": {"label": 0.5},
    "validation": {"auc": 0.75, "ece": None},
    "lr": 0.1,
    "seconds": 2.0,
    "cases": 8,
}


class Noting(Callback):
    """What it was called with, in order."""

    def __init__(self, notes: list[Any], fails: str = "") -> None:
        self.notes = notes
        self.fails = fails

    def _note(self, name: str, value: Any) -> None:
        self.notes.append((name, value))
        if name == self.fails:
            raise OSError(name)

    def begin(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        self._note("begin", folder)

    def epoch(self, entry: Mapping[str, Any]) -> None:
        self._note("epoch", entry["epoch"])

    def end(self, metrics: Mapping[str, Any] | None) -> None:
        self._note("end", metrics)


def test_callbacks_are_called_in_order() -> None:
    notes: list[Any] = []
    calls = Calls([Noting(notes), lambda entry: notes.append(entry["lr"])])
    with calls.around(Path("run"), {}):
        calls.epoch(ENTRY)
        calls.metrics = {"auc": 1}
    assert notes == [("begin", Path("run")), ("epoch", 3), 0.1, ("end", {"auc": 1})]


@pytest.mark.parametrize("fails", ["begin", "epoch", "end"])
def test_all_begun_callbacks_end(fails: str) -> None:
    """A logger that fails does not leave another's file open."""
    notes: list[Any] = []
    calls = Calls([Noting(notes, fails), Noting(notes)])
    with pytest.raises(OSError, match=fails), calls.around(Path("run"), {}):
        calls.epoch(ENTRY)
    assert [note for note in notes if note[0] == "end"] == [("end", None)] * (1 if fails == "begin" else 2)


@pytest.mark.parametrize("wrong", ["tensorboard", Noting])
def test_invalid_callback_raises(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"callbacks expects functions .* got"):
        Calls([wrong])


def test_numbers_are_flattened() -> None:
    assert numbers(ENTRY) == {"loss/label": 0.5, "validation/auc": 0.75, "lr": 0.1, "seconds": 2.0}
    metrics = {"test": {"auc": {"value": 0.9}, "mcc": {"value": None}}, "validation": {"auc": {"value": 0.8}}}
    assert results(metrics) == {"test/auc": 0.9}
    del metrics["test"]
    assert results(metrics) == {"validation/auc": 0.8}
