import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

N = 24


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(N):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    frame = pd.DataFrame({"photo": [f"{i}.png" for i in range(N)], "age": rng.normal(50, 9, N).round(2)})
    frame["part"] = ["train"] * 12 + ["validation"] * 6 + ["test"] * 6
    frame["dx"] = ["good", "bad"] * (N // 2)
    frame.to_csv(folder / "cases.csv", index=False)
    return folder / "cases.csv"


def damaged(table: Path, place: Path, how: str, *more: str) -> "subprocess.CompletedProcess[str]":
    data = {"label": "dx", "images": "photo", "test": "part", "size": 8}
    sets = [part for key, value in data.items() for part in ("--set", f"data.{key}={value}")]
    quick = ["--epochs", "2", "--batch-size", "3", "--set", "train.resamples=20", "--set", "run.references=false"]
    chosen = ["--model", "concat", "--dataset", "table", "--table", str(table), *sets, *quick, *more]
    script = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "damaging.py"), how, str(place / "cache")]
    return subprocess.run(
        [*script, "run", *chosen, "--device", "cpu", "--out", str(place / "run")],
        env={**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("how", "workers"), [pytest.param("flip", 0, marks=pytest.mark.exhaustive), ("cut", 1)])
def test_damaged_cache_is_repaired_during_run(table: Path, how: str, workers: int, tmp_path: Path) -> None:
    outs = {}
    for kind in ("none", how):
        done = damaged(table, tmp_path / kind, kind, "--set", f"train.workers={workers}")
        assert done.returncode == 0, done.stderr
        assert ("decoded again from" in done.stderr) == (kind != "none")
        outs[kind] = (tmp_path / kind / "run" / "predictions.csv").read_bytes()
    assert outs["none"] == outs[how]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_unrepairable_cache_is_one_line_error(table: Path, tmp_path: Path) -> None:
    """Neither the cache nor the files."""
    saved = {path: path.read_bytes() for path in table.parent.glob("*.png")}
    try:
        done = damaged(table, tmp_path, f"flip+{table.parent}")
        assert done.returncode == 2, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("mmfusion: ")]
        assert "Traceback" not in done.stderr
        assert "cannot be restored from" in line
        assert "start again with the same command" in line
    finally:
        for path, content in saved.items():
            path.write_bytes(content)
