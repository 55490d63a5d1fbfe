from pathlib import Path
from typing import Any

import numpy as np
import pytest

import run_folders
from mmfusion.benchmark.analysis.modalities import contributions, degradation
from mmfusion.benchmark.collect import FinishedRun, read


def auc(value: float | None, reach: float | None = 0.1) -> dict[str, float | None]:
    ends = (None, None) if value is None or reach is None else (value - reach, value + reach)
    return {"value": value, "low": ends[0], "high": ends[1], "error": None if reach is None else reach / 2}


def row(kind: str, value: float | None, *, share: float | None = None, modality: str | None = None, **more: Any):
    return {"kind": kind, "modality": modality, "share": share, "metrics": {"auc": auc(value)}, **more}


def run(path: Path, rows: list[dict[str, Any]] | None, seed: int = 0, whole: float | None = None) -> FinishedRun:
    files = {} if rows is None else {"robustness.json": {"format": 1, "rows": rows}}
    metrics = {} if whole is None else {"test": {"auc": auc(whole)}}
    return read(run_folders.write(path / str(seed), seed=seed, n=6, files=files, metrics=metrics))


def test_the_area_is_over_the_width_of_the_shares(tmp_path: Path) -> None:
    first = [row("cells", value, share=share) for share, value in ((0.0, 0.9), (0.3, 0.9), (0.9, 0.5))]
    second = [row("cells", 0.8, share=share) for share in (0.0, 0.3, 0.9)]
    found = degradation([run(tmp_path, first), run(tmp_path, second, 1)])
    assert found is not None
    # (0.3 * 0.9 + 0.6 * 0.7) / 0.9 by trapezoids; a level curve has its level.
    assert found.area.points == pytest.approx((0.69 / 0.9, 0.8))
    assert found.area.mean == pytest.approx((0.69 / 0.9 + 0.8) / 2)
    assert (found.area.low, found.area.high) == pytest.approx((found.area.mean - 0.1, found.area.mean + 0.1))
    np.testing.assert_allclose(found.mean, [0.85, 0.85, 0.65])
    np.testing.assert_allclose(found.low, [0.75, 0.75, 0.55])
    np.testing.assert_allclose(found.points, [[0.9, 0.9, 0.5], [0.8, 0.8, 0.8]])


def test_runs_that_were_not_asked(tmp_path: Path) -> None:
    asked, other = run(tmp_path, [row("cells", 0.9, share=s) for s in (0.0, 0.5)]), run(tmp_path, None, 1)
    assert degradation([other]) is None
    assert contributions([other], 0.95) == ()
    found = degradation([asked, other])
    assert found is not None
    assert np.isnan(found.points[1]).all()
    np.testing.assert_allclose(found.mean, 0.9)


def test_the_drop_is_the_runs_own_where_they_have_it(tmp_path: Path) -> None:
    drops = [row("without", 0.7, modality="meta", drop=auc(0.2, 0.05)), row("permuted", None, modality="meta")]
    runs = [run(tmp_path, drops), run(tmp_path, [row("without", 0.6, modality="meta", drop=auc(0.3, 0.05))], 1)]
    without, permuted = contributions(runs, 0.95)
    assert (without.modality, without.kind, without.interval) == ("meta", "without", "cases")
    assert (without.left.mean, without.drop.mean) == pytest.approx((0.65, 0.25))
    assert (without.drop.low, without.drop.high) == pytest.approx((0.2, 0.3))
    assert without.drop.points == pytest.approx((0.2, 0.3))
    assert permuted.kind == "permuted"
    assert np.isnan(permuted.drop.mean)


def test_else_from_the_auc_of_the_whole(tmp_path: Path) -> None:
    rows = [row("permuted", 0.7, modality="derm")]
    runs = [run(tmp_path, rows, whole=0.9), run(tmp_path, [row("cells", 0.8, share=0.0), *rows], 1, whole=0.9)]
    [found] = contributions(runs, 0.95)
    assert found.interval == "runs"
    assert found.drop.points == pytest.approx((0.2, 0.1))
    # Student's over two runs: 12.706 standard errors.
    assert found.drop.high - found.drop.mean == pytest.approx(12.706 * 0.05, rel=1e-3)
    [alone] = contributions(runs[:1], 0.95)
    assert np.isnan(alone.drop.low)
