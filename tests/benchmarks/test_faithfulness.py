"""The study of heat maps goes on where it was stopped, and the documentation says what its file says."""

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from helpers.explained import batch_for, small_model
from mmfusion.explain import Output
from mmfusion.explain.heat_maps import METHODS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "studies" / "faithfulness.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="this copy has no benchmarks/studies")


@pytest.fixture(scope="module")
def study() -> Any:
    found = importlib.util.spec_from_file_location("faithfulness_study", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def row(test: str, **values: Any) -> dict[str, Any]:
    return {
        **{"dataset": "synthetic_men", "model": "concat", "method": "grad_cam", "test": test, "cases": 9, "value": 0.2},
        **{"gain": 0.3, "low": 0.1, "high": 0.5, "passed": True, "constant": 1, "mask_area": 0.1, "test_auc": 0.9},
        **{"seconds": 1.0, **values},
    }


def test_finished_measurements_are_not_repeated(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[str, ...]] = []

    def measured(key: dict[str, str], method: Any, times: Any, options: Any) -> list[dict[str, Any]]:
        made.append(tuple(key.values()))
        return [row(test, **key) for test in study.SHOWN]

    monkeypatch.setattr(study, "measured", measured)
    words = ["faithfulness.py", "--out", str(tmp_path / "rows.csv"), "--models", "concat", "film", "--methods"]
    for methods in (["grad_cam"], ["grad_cam", "center"], ["center"]):
        monkeypatch.setattr("sys.argv", [*words, *methods])
        study.main()
    assert "bus_bra is skipped" in capsys.readouterr().out
    expected = [
        (dataset, model, method)
        for method in ("grad_cam", "center")
        for dataset in ("synthetic_derm7pt", "synthetic_men")
        for model in ("concat", "film")
    ]
    assert sorted(made) == sorted(expected)


def test_failed_tests_are_marked(study: Any) -> None:
    rows = pd.DataFrame(
        [
            row("deletion"),
            row("random_weights", gain=0.1, low=-0.1, high=0.3, passed=False),
            row("deletion", method="center", passed=False),
        ]
    )
    text = study.markdown(rows)
    assert "| `synthetic_men` | `concat` | 0.900 | 1 of 1 | 0 of 0 | 0 of 1 |" in text
    assert "| `grad_cam` | `concat` | 9 | 0.30 (0.10 to 0.50) |  | ✗ 0.40 (0.20 to 0.60) |" in text
    assert "| `center` | `concat` | 9 | ✗ 0.30" in text


def test_every_method_is_studied(study: Any) -> None:
    for dataset in study.SETTINGS:
        assert {*METHODS, study.CENTER} == set(study.methods(dataset)) - {study.LAST}
        assert (study.LAST in study.methods(dataset)) == (dataset != "bus_bra")


def test_center_spot_is_symmetric(study: Any) -> None:
    model = small_model("concat")
    spots = study.center(model, batch_for(model, 2), None, image="image0", output=Output())
    assert spots.shape == (2, 16, 16)
    assert torch.equal(spots[0], spots[0].flip(0).mT)
    assert spots[0].argmax() == 7 * 16 + 7


def test_page_matches_results(study: Any) -> None:
    page = (ROOT / "docs" / "guide" / "explain-faithfulness.md").read_text(encoding="utf-8")
    assert study.markdown(pd.read_csv(SCRIPT.with_suffix(".csv"))) in page
