from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis.modalities import contributions, degradation
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.comparison.reading import read


def auc(value: float | None, reach: float | None = 0.1) -> dict[str, float | None]:
    ends = (None, None) if value is None or reach is None else (value - reach, value + reach)
    return {"value": value, "low": ends[0], "high": ends[1], "error": None if reach is None else reach / 2}


def row(kind: str, value: float | None, *, share: float | None = None, modality: str | None = None, **more: Any):
    return {"kind": kind, "modality": modality, "share": share, "metrics": {"auc": auc(value)}, **more}


def run(path: Path, rows: list[dict[str, Any]] | None, seed: int = 0, **options: Any) -> FinishedRun:
    files = {} if rows is None else {"robustness.json": {"format": 1, "rows": rows}}
    place = path / f"{seed}-{options.get('fold', 0)}"
    return read(run_folders.write(place, seed=seed, files=files, **{"n": 6, **options}))


def test_area_is_normalized_by_width(tmp_path: Path) -> None:
    first = [row("cells", value, share=share) for share, value in ((0.0, 0.9), (0.3, 0.9), (0.9, 0.5))]
    second = [row("cells", 0.8, share=share) for share in (0.0, 0.3, 0.9)]
    result = degradation([run(tmp_path, first), run(tmp_path, second, 1)])
    assert result is not None
    # (0.3 * 0.9 + 0.6 * 0.7) / 0.9 by trapezoids; a level curve has its level.
    assert result.area.points == pytest.approx((0.69 / 0.9, 0.8))
    assert result.area.mean == pytest.approx((0.69 / 0.9 + 0.8) / 2)
    # The runs' errors of 0.05, and what the two runs differ by.
    assert result.area.error**2 == pytest.approx(0.05**2 + np.var(result.area.points, ddof=1) / 2)
    np.testing.assert_allclose(result.mean, [0.85, 0.85, 0.65])
    assert (result.low < result.mean).all()
    assert (result.mean < result.high).all()
    np.testing.assert_allclose(result.points, [[0.9, 0.9, 0.5], [0.8, 0.8, 0.8]])


def test_runs_without_robustness_are_skipped(tmp_path: Path) -> None:
    evaluated, other = run(tmp_path, [row("cells", 0.9, share=s) for s in (0.0, 0.5)]), run(tmp_path, None, 1)
    assert degradation([other]) is None
    assert contributions([other]) == ()
    result = degradation([evaluated, other])
    assert result is not None
    assert np.isnan(result.points[1]).all()
    np.testing.assert_allclose(result.mean, 0.9)


def test_recorded_drop_is_used(tmp_path: Path) -> None:
    drops = [row("without", 0.7, modality="meta", drop=auc(0.2, 0.05)), row("permuted", None, modality="meta")]
    runs = [run(tmp_path, drops), run(tmp_path, [row("without", 0.6, modality="meta", drop=auc(0.3, 0.05))], 1)]
    without, permuted = contributions(runs)
    assert (without.modality, without.kind) == ("meta", "without")
    assert (without.left.mean, without.drop.mean) == pytest.approx((0.65, 0.25))
    assert without.drop.error**2 == pytest.approx(0.025**2 + 0.005 / 2)
    assert without.drop.low < 0.2 < 0.3 < without.drop.high
    assert without.drop.points == pytest.approx((0.2, 0.3))
    assert permuted.kind == "permuted"
    assert np.isnan(permuted.drop.mean)


def grid(path: Path, drops: Sequence[Sequence[float]]) -> list[FinishedRun]:
    """A run of each fold and seed, whose AUC falls by so much without its table."""
    runs = []
    for fold, of_seed in enumerate(drops):
        for seed, drop in enumerate(of_seed):
            whole = 0.9 - 0.1 * seed
            rows = [
                row("cells", whole, share=0.0),
                row("cells", whole - 0.2, share=0.5),
                row("without", whole - drop, modality="meta", drop=auc(drop, 0.04)),
            ]
            runs.append(run(path, rows, seed, fold=fold))
    return runs


@pytest.mark.slow
def test_folds_are_averaged_first(tmp_path: Path) -> None:
    """With the variance of Nadeau and Bengio; at least that of the cases of independent folds."""
    drops = [(0.1, 0.2), (0.2, 0.3), (0.3, 0.4)]
    runs = []
    for fold, of_seed in enumerate(drops):
        for seed, drop in enumerate(of_seed):
            rows = [row("without", 0.6, modality="meta", drop=auc(drop, 0.04))]
            runs.append(run(tmp_path, rows, seed, fold=fold, metrics={"cases": {"train": 12}}))
    [result] = contributions(runs)
    assert result.drop.error**2 == pytest.approx(max((1 / 3 + 6 / 12) * 0.01, 0.02**2 / 3))
    [unknown] = contributions(grid(tmp_path / "unsized", [(0.2,), (0.3,), (0.4,)]))
    assert np.isnan(unknown.drop.low)


def test_two_folds_have_no_interval(tmp_path: Path) -> None:
    [result] = contributions(grid(tmp_path, [(0.2, 0.3), (0.4,)]))
    assert result.drop.mean == pytest.approx(0.3)
    assert np.isnan(result.drop.low)
