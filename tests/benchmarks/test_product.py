import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import run_folders

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "studies" / "product.py"


def said(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


def predicted(labels: np.ndarray, p: np.ndarray, part: str, order: np.ndarray) -> pd.DataFrame:
    cases = [f"{part}{i}" for i in order]
    named = np.array(["a", "b"], dtype=object)[labels[order]]
    table = {"id": cases, "group": cases, "part": part, "label": named, "fold": 0, "seed": 0}
    return pd.DataFrame(table | {"prob_a": 1 - p[order], "prob_b": p[order]})


@pytest.mark.exhaustive
@pytest.mark.slow
def test_product_joins_cases_by_id(tmp_path: Path) -> None:
    """Two halves of the information, each half right: together they separate all pairs."""
    labels = np.array([0, 0, 1, 1])
    halves = np.array([0.1, 0.5, 0.5, 0.9]), np.array([0.5, 0.1, 0.9, 0.5])
    for name, p, order in (("image", halves[0], [0, 1, 2, 3]), ("tabular", halves[1], [3, 1, 0, 2])):
        parts = (predicted(labels, p, "validation", np.arange(4)), predicted(labels, p, "test", np.array(order)))
        run_folders.write(tmp_path / name, name, frame=pd.concat(parts, ignore_index=True))
    result = said(str(tmp_path))
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()[1:]]
    assert [line[0] for line in lines] == ["image", "tabular", "image"]
    assert [line[-1] for line in lines] == ["0.875", "0.875", "1.000"]
    assert "two names" in said(str(tmp_path), "--methods", "image").stderr
    assert "no seed and fold in common" in said(str(tmp_path), "--methods", "image,concat").stderr
    run_folders.write(tmp_path / "again", "image", overrides={"train": {"epochs": 3}})
    assert "are both image on synthetic_derm7pt, fold 0, seed 0" in said(str(tmp_path)).stderr
