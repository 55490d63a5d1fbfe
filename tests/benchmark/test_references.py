from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfusion.benchmark import grid, references
from mmfusion.benchmark.analysis import analyse
from mmfusion.benchmark.collect import collect
from mmfusion.data.cases import DataBundle
from mmfusion.registry import datasets
from mmfusion.training.reporter import Silent
from mmfusion.training.settings import Settings

DATA = {"size": 32, "n_train": 120, "n_validation": 30, "n_test": 60}


@pytest.mark.slow
def test_reference_rows_are_read_as_runs(tmp_path: Path) -> None:
    bundle = datasets.create("synthetic-derm7pt", **DATA)
    places = references.write(bundle, tmp_path, data=DATA, seed=1, resamples=20)
    found = collect([tmp_path])
    assert not found.skipped
    assert {one.folder for one in found.runs} == set(places)
    for one in found.runs:
        assert (one.row, one.seed, one.n_train) == ("scikit-learn", 1, 120)
        assert one.metrics["cases"] == {"train": 120, "validation": 30, "test": 60}
        assert one.settings.data == DATA
        assert one.test.ids.tolist() == [str(case) for case in bundle.test.ids]
        np.testing.assert_array_equal(one.test.labels, bundle.test.labels("label").numpy())
    [comparison] = analyse(found.runs, n_resamples=50).comparisons
    assert {method.label for method in comparison.methods} == {"logistic regression", "gradient boosting"}
    assert all(method.is_row and method.beyond is None for method in comparison.methods)
    stored = {one.model: one.metrics["test"]["auc"]["value"] for one in found.runs}
    assert {method.label: method.scores["auc"].mean for method in comparison.methods} == pytest.approx(stored)
    # A second call leaves them as they are.
    before = [(place / "metrics.json").stat().st_mtime_ns for place in places]
    assert references.write(bundle, tmp_path, data=DATA, seed=1) == places
    assert [(place / "metrics.json").stat().st_mtime_ns for place in places] == before


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def planned(tmp_path: Path) -> list[grid.Planned]:
    return grid.plan(grid.methods("concat,image"), ["synthetic-derm7pt"], [{"data": DATA}], seeds=(0, 1), out=tmp_path)


def test_a_dataset_that_is_gone_is_no_reason_to_have_no_report(
    planned: list[grid.Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> DataBundle:
        raise FileNotFoundError("no folder\n x")

    monkeypatch.setattr(references, "build_dataset", gone)
    lines = Lines()
    assert references.beside(planned, tmp_path, lines) == []
    assert lines.lines == [
        f"No reference rows for concat on synthetic-derm7pt, seed {seed}: no folder x" for seed in (0, 1)
    ]


def test_finished_rows_need_no_dataset(
    planned: list[grid.Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is read for all seeds where a row is missing, none where none is."""
    read: list[Settings] = []

    def build(settings: Settings, *_: object) -> DataBundle:
        read.append(settings)
        return datasets.create("synthetic-derm7pt", **DATA)

    def constant(train: Any, held_out: Any, *_: object, **__: object) -> Any:
        return {
            name: {part: np.tile([0.4, 0.6], (len(dataset), 1)) for part, dataset in held_out.items()}
            for name in references.REFERENCES
        }

    monkeypatch.setattr(references, "build_dataset", build)
    monkeypatch.setattr(references, "reference_probabilities", constant)
    places = references.beside(planned, tmp_path, Lines())
    assert len(set(places)) == 4
    assert len(read) == 1
    assert references.beside(planned, tmp_path, Lines()) == places
    assert len(read) == 1


def test_without_validation_there_are_none(tmp_path: Path) -> None:
    bundle = datasets.create("synthetic-derm7pt", **DATA)
    with pytest.raises(ValueError, match="the reference rows need a validation part"):
        references.write(replace(bundle, validation=[]), tmp_path, data=DATA)
