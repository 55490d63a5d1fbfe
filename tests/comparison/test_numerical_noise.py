"""Spread over repeats beside that over seeds, in a sweep's table and in a report."""

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison import grid, noise_table
from mmfusion.comparison.analysis import analyse
from mmfusion.comparison.analysis.repeated import repeated
from mmfusion.comparison.collect import collect
from mmfusion.comparison.compact import compact
from mmfusion.comparison.grid import Planned
from mmfusion.comparison.numerical_noise import noise, pooled_sd, spread
from mmfusion.comparison.sweep import Outcome
from mmfusion.experiments.settings import RunSettings, Settings
from mmfusion.metrics.classification import evaluate

NAN = math.nan


def test_pooled_sd_by_degrees_of_freedom() -> None:
    assert pooled_sd([[1.0, 3.0], [5.0]]) == pytest.approx(2**0.5)
    assert pooled_sd([[0.0, 2.0], [10.0, 10.0, 10.0]]) == pytest.approx((2 / 3) ** 0.5)
    assert math.isnan(pooled_sd([[1.0], []]))


def test_spread_within_and_over_seeds() -> None:
    found = spread([[[0.5, 0.7], [0.9, NAN, 0.7]], [[0.1], [0.3]]])
    assert found.mean == pytest.approx(0.45)
    assert found.within == pytest.approx(0.02**0.5)
    assert found.over == pytest.approx(((0.08 + 0.02) / 2) ** 0.5)
    one = spread([[[0.5, 0.7]]])
    assert (one.mean, math.isnan(one.over)) == (0.5, True)
    nothing = spread([[[NAN, NAN]]])
    assert all(map(math.isnan, (nothing.mean, nothing.within, nothing.over)))


def test_seeds_without_repeats_have_no_noise() -> None:
    assert noise({(0, 0): [(0.5, 0.6)], (0, 1): [(0.7, 0.8)]}) is None
    found = noise({(0, 0): [(0.5, 0.6), (0.7, 0.6)], (0, 1): [(0.7, 0.8)]})
    assert found is not None
    assert (found.starts, found.seeds) == (2, 1)
    assert found.validation.within == pytest.approx(0.02**0.5)
    assert (found.test.within, found.test.over) == (0, pytest.approx(0.02**0.5))


def test_repeats_are_planned_after_all_seeds(tmp_path: Path) -> None:
    methods = grid.methods("concat,late")
    planned = grid.plan(methods, ["synthetic_derm7pt"], seeds=[0, 3], repeats=2, out=tmp_path)
    chosen = [run.settings.run for run in planned]
    assert [(one.repeat, one.seed, one.model) for one in chosen] == [
        (repeat, seed, model) for repeat in (0, 1) for seed in (0, 3) for model in ("concat", "late")
    ]
    assert planned[:4] == grid.plan(methods, ["synthetic_derm7pt"], seeds=[0, 3], out=tmp_path)
    assert len({run.address for run in planned}) == 8
    assert planned[5].folder.name.startswith("seed0-repeat1-")
    assert planned[5].name == "late on synthetic_derm7pt, seed 0, repeat 1"


def test_invalid_repeats_raise() -> None:
    methods = grid.methods("concat")
    with pytest.raises(ValueError, match="repeats expects at least 1, got 0"):
        grid.plan(methods, ["synthetic_derm7pt"], repeats=0)
    with pytest.raises(ValueError, match=r"repeats=2 numbers the starts: leave out run\.repeat"):
        grid.plan(methods, ["synthetic_derm7pt"], [{"run": {"repeat": 1}}], repeats=2)
    (run,) = grid.plan(methods, ["synthetic_derm7pt"], [{"run": {"repeat": 4}}])
    assert run.settings.run.repeat == 4


def outcome(label: str, validation: float | None, test: float | None, **chosen: Any) -> Outcome:
    parts = {"validation": validation, "test": test}
    metrics = {name: {"auc": {"value": value}} for name, value in parts.items()}
    return Outcome(Planned(label, Settings(RunSettings("m", "d", **chosen)), "0"), metrics, None)


def test_table_of_noise(tmp_path: Path) -> None:
    outcomes = [
        outcome("a", 0.7, 0.6, repeat=1),
        outcome("a", 0.5, 0.6),
        outcome("a", 0.8, None, seed=1),
        outcome("b", 0.5, 0.5),
        # Its own start failed.
        outcome("a", 0.1, 0.1, seed=2, repeat=1),
    ]
    found = noise_table.rows([*outcomes, Outcome(outcomes[3].planned, None, "no")])
    assert list(found) == [("d", "a")]
    with noise_table.write(found, tmp_path).open() as file:
        (row,) = csv.DictReader(file)
    assert (row["dataset"], row["method"], row["starts"], row["seeds"]) == ("d", "a", "2", "1")
    assert float(row["validation_auc_mean"]) == pytest.approx(0.65)
    assert float(row["validation_auc_sd_starts"]) == pytest.approx(0.02**0.5)
    assert float(row["validation_auc_sd_seeds"]) == pytest.approx(0.045**0.5)
    assert (float(row["test_auc_mean"]), float(row["test_auc_sd_starts"]), row["test_auc_sd_seeds"]) == (0.6, 0.0, "")
    shown = noise_table.table(found, "d")
    assert [next(iter(column.cells)).plain for column in shown.columns] == [
        "a",
        "2",
        "1",
        "0.1414",
        "0.2121",
        "0.0000",
        "",
    ]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two methods of two seeds; one seed of concat has two repeats, and one of late a repeat whose run is missing."""
    place = tmp_path / "runs"
    for model in ("concat", "late"):
        for seed in (0, 1):
            run_folders.write(place / f"{model}{seed}", model, seed=seed)
    for repeat in (1, 2):
        frame = run_folders.predictions(seed=0, strength=1.5 + repeat)
        run_folders.write(place / f"again{repeat}", frame=frame, overrides={"run": {"repeat": repeat}})
    run_folders.write(place / "lost", "late", seed=7, overrides={"run": {"repeat": 1}})
    return place


@pytest.mark.slow
def test_repeats_are_not_collected_as_runs(folders: Path) -> None:
    collection = collect([folders])
    assert [run.folder.name for run in collection.runs] == ["concat0", "concat1", "late0", "late1"]
    assert {first.name: [run.repeat for run in runs] for first, runs in collection.repeats.items()} == {
        "concat0": [1, 2]
    }
    assert run_folders.reasons(folders) == {"lost": "it is repeat 1 of a run that is not among the folders"}
    assert collection.repeats[folders / "concat0"][0].name.endswith("seed 0, repeat 1")


@pytest.mark.slow
def test_report_does_not_count_repeats_as_seeds(folders: Path, tmp_path: Path) -> None:
    collection = collect([folders])
    alone = analyse(collection.runs, n_resamples=50)
    (comparison,) = analyse(collection.runs, n_resamples=50, repeats=collection.repeats).comparisons
    # As text: NaN equals nothing.
    assert repr(comparison.tests) == repr(alone.comparisons[0].tests)
    by_label = {method.label: method for method in comparison.methods}
    for method in alone.comparisons[0].methods:
        assert by_label[method.label].runs == method.runs
        assert repr(by_label[method.label].scores) == repr(method.scores)
        assert method.noise is None
    assert by_label["late"].noise is None
    found = by_label["concat"].noise
    assert found is not None
    assert (found.starts, found.seeds) == (3, 1)
    starts = (collection.runs[0], *collection.repeats[folders / "concat0"])
    aucs = [float(evaluate(run.test.probabilities, run.test.labels)["auc"].item()) for run in starts]
    assert found.test.within == pytest.approx(float(np.std(aucs, ddof=1)))
    assert found == repeated(collection.runs[:2], collection.repeats)
    kept = compact([folders], tmp_path / "small")
    assert len(kept.folders) == 6
    assert {first.name: len(runs) for first, runs in collect([tmp_path / "small"]).repeats.items()} == {"concat0": 2}


@pytest.mark.slow
def test_report_has_noise_chapter(folders: Path) -> None:
    pytest.importorskip("matplotlib")
    from mmfusion.comparison.report import pages, tables

    collection = collect([folders])
    without = pages.render(analyse(collection.runs, n_resamples=50), {})[1]
    analysis = analyse(collection.runs, n_resamples=50, repeats=collection.repeats)
    page, markdown, _ = pages.render(analysis, {})
    assert "Numerical noise" not in without
    assert "Numerical noise" in page
    assert "| **concat** | **3** | **1** |" in markdown
    assert "A repeat is missing for late." in markdown
    rows = list(csv.DictReader(tables.tables(analysis, {})["noise.csv"].splitlines()))
    assert [(row["method"], row["part"]) for row in rows] == [("concat", "validation"), ("concat", "test")]
    (noise_of_concat,) = [method.noise for method in analysis.comparisons[0].methods if method.noise is not None]
    assert float(rows[1]["sd_starts"]) == noise_of_concat.test.within
