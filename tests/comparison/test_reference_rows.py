import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfusion.comparison import grid, reference_rows
from mmfusion.comparison.analysis import analyse
from mmfusion.comparison.collect import collect
from mmfusion.data.bundle import DataBundle
from mmfusion.experiments.settings import Settings
from mmfusion.registry import datasets
from mmfusion.training.reporter import Silent

DATA = {"size": 32, "n_train": 120, "n_validation": 30, "n_test": 60}


@pytest.mark.slow
def test_reference_rows_are_read_as_runs(tmp_path: Path) -> None:
    bundle = datasets.create("synthetic_derm7pt", **DATA)
    places = reference_rows.write(bundle, tmp_path, data=DATA, seed=1, resamples=20)
    result = collect([tmp_path])
    assert not result.skipped
    assert {item.folder for item in result.runs} == set(places)
    for item in result.runs:
        assert (item.row, item.seed, item.n_train) == ("scikit-learn", 1, 120)
        assert item.metrics["cases"] == {"train": 120, "validation": 30, "test": 60}
        assert item.settings.data == DATA
        assert item.test.ids.tolist() == [str(case) for case in bundle.test.ids]
        np.testing.assert_array_equal(item.test.labels, bundle.test.labels("label").numpy())
    [comparison] = analyse(result.runs, n_resamples=50).comparisons
    assert {method.label for method in comparison.methods} == {"logistic regression", "gradient boosting"}
    assert all(method.is_row and method.beyond is None for method in comparison.methods)
    stored = {item.model: item.metrics["test"]["auc"]["value"] for item in result.runs}
    assert {method.label: method.scores["auc"].mean for method in comparison.methods} == pytest.approx(stored)
    # A second call leaves them as they are.
    before = [(place / "metrics.json").stat().st_mtime_ns for place in places]
    assert reference_rows.write(bundle, tmp_path, data=DATA, seed=1) == places
    assert [(place / "metrics.json").stat().st_mtime_ns for place in places] == before


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def planned(tmp_path: Path) -> list[grid.Planned]:
    return grid.plan(grid.methods("concat,image"), ["synthetic_derm7pt"], [{"data": DATA}], seeds=(0, 1), out=tmp_path)


def test_a_dataset_that_is_gone_is_no_reason_to_have_no_report(
    planned: list[grid.Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> DataBundle:
        raise FileNotFoundError("no folder\n x")

    monkeypatch.setattr(reference_rows, "build_dataset", gone)
    lines = Lines()
    assert reference_rows.beside(planned, tmp_path, lines) == []
    assert lines.lines == [
        f"No reference rows for concat on synthetic_derm7pt, seed {seed}: no folder x" for seed in (0, 1)
    ]


@pytest.mark.slow
def test_finished_rows_need_no_dataset(
    planned: list[grid.Planned], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is read for all seeds where a row is missing, none where none is."""
    read: list[Settings] = []

    def build(settings: Settings, *_: object) -> DataBundle:
        read.append(settings)
        return datasets.create("synthetic_derm7pt", **DATA)

    def constant(train: Any, held_out: Any, *_: object, **__: object) -> Any:
        return {
            name: {part: np.tile([0.4, 0.6], (len(dataset), 1)) for part, dataset in held_out.items()}
            for name in reference_rows.REFERENCES
        }

    monkeypatch.setattr(reference_rows, "build_dataset", build)
    monkeypatch.setattr(reference_rows, "reference_probabilities", constant)
    places = reference_rows.beside(planned, tmp_path, Lines())
    assert len(set(places)) == 4
    assert len(read) == 1
    assert reference_rows.beside(planned, tmp_path, Lines()) == places
    assert len(read) == 1


@pytest.mark.slow
def test_rows_are_fitted_anew_to_another_table_at_the_same_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []

    def constant(train: Any, held_out: Any, *_: object, **__: object) -> Any:
        fitted.append(len(train))
        return {
            name: {part: np.tile([0.4, 0.6], (len(dataset), 1)) for part, dataset in held_out.items()}
            for name in reference_rows.REFERENCES
        }

    monkeypatch.setattr(reference_rows, "reference_probabilities", constant)
    bundle = datasets.create("synthetic_derm7pt", **DATA)
    table, copy = tmp_path / "cases.csv", tmp_path / "copy.csv"
    out, data = tmp_path / "out", {"table": str(table)}
    for path in (table, copy):
        path.write_text("a,b\n1,2\n")
    first = reference_rows.write(bundle, out, data=data, resamples=20)
    assert reference_rows.write(bundle, out, data={"table": str(copy)}) == first
    table.write_text("a,b\n1,3\n")
    second = reference_rows.write(bundle, out, data=data, resamples=20)
    assert not set(first) & set(second)
    assert fitted == [120, 120]
    # The rows say which table they saw.
    result = collect([out])
    assert not result.skipped
    message = {item.folder: item.metrics["content"]["data"]["table"] for item in result.runs}
    assert {message[place] for place in first} == {hashlib.sha256(b"a,b\n1,2\n").hexdigest()}
    assert {message[place] for place in second} == {hashlib.sha256(b"a,b\n1,3\n").hexdigest()}


def test_a_row_of_a_plugins_dataset_counts_by_the_plug_in(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"

    def places(dataset: str) -> list[Path]:
        rows = reference_rows._rows(dataset, {}, [str(plugin)], 0)
        return [reference_rows._place(tmp_path, row) for row in rows.values()]

    plugin.write_text("A = 1\n")
    options, foreign = places("synthetic_derm7pt"), places("mine")
    plugin.write_text("A = 2\n")
    assert places("synthetic_derm7pt") == options
    assert not set(places("mine")) & set(foreign)


def test_a_place_without_files_is_that_of_former_versions(tmp_path: Path) -> None:
    [row, _] = reference_rows._rows("ham10000", {"size": 128}, [], 0).values()
    assert reference_rows._place(tmp_path, row) == tmp_path / "ham10000" / "logistic-regression" / "seed0-9b655acb73"


def test_without_validation_there_are_none(tmp_path: Path) -> None:
    bundle = datasets.create("synthetic_derm7pt", **DATA)
    with pytest.raises(ValueError, match="the reference rows need a validation set"):
        reference_rows.write(replace(bundle, validation=[]), tmp_path, data=DATA)
