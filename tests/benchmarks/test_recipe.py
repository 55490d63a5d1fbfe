"""The study of the default recipe is of the default recipe, and the documentation says what its file says."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmfusion.comparison import grid
from mmfusion.experiments.settings import resolve

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "studies" / "recipe.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="this copy has no benchmarks/studies")


@pytest.fixture(scope="module")
def study() -> Any:
    found = importlib.util.spec_from_file_location("recipe_study", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("model", ["concat", "cfcml"])
def test_default_recipe_is_the_chosen_candidate(study: Any, model: str) -> None:
    candidates = {
        name: grid.address(resolve(model, study.DATASET, [changes[model]]))
        for name, changes in study.CANDIDATES.items()
    }
    assert candidates[study.CHOSEN] == grid.address(resolve(model))
    assert len(set(candidates.values())) == len(candidates)


def test_runs_are_not_repeated(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, int, int]] = []

    def trained(candidate: str, model: str, seed: int, repeat: int) -> dict[str, Any]:
        made.append((model, seed, repeat))
        return {"validation_auc": 0.9 + 0.01 * repeat + 0.02 * seed, "processor_seconds": 2.0}

    monkeypatch.setattr(study, "trained", trained)
    words = ["recipe.py", "--out", str(tmp_path / "rows.csv"), "--models", "concat", "--seeds", "2", "--repeats"]
    for repeats in ("1", "2", "2"):
        monkeypatch.setattr("sys.argv", [*words, repeats])
        study.main()
    assert made == [("concat", 0, 0), ("concat", 1, 0), ("concat", 0, 1), ("concat", 1, 1)]
    (line,) = study.table(pd.read_csv(tmp_path / "rows.csv")).to_dict("records")
    assert (line["runs"], line["mean"], line["processor seconds"]) == (4, 0.91, 2.0)
    assert line["sd over starts"] == pytest.approx(0.01 / 2**0.5, abs=1e-5)
    assert line["sd over seeds"] == pytest.approx(0.02 / 2**0.5, abs=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"rows.csv"}


def test_page_matches_results(study: Any) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| ([^|]+) \| `(\w+)` \| (\d+) \| ([\d.]+) \| ([\d.]*) \| ([\d.]*) \| (\d+) \|$", page, re.M)
    expected = []
    for line in study.table(pd.read_csv(SCRIPT.with_suffix(".csv"))).to_dict("records"):
        spreads = ["" if pd.isna(line[key]) else f"{line[key]:.4f}" for key in ("sd over starts", "sd over seeds")]
        numbers = str(line["runs"]), f"{line['mean']:.4f}", *spreads, f"{line['processor seconds']:.0f}"
        expected.append((line["candidate"], line["model"], *numbers))
    assert sorted(shown) == sorted(expected)
