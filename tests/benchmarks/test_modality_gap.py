"""The study of the modality gap is of the default recipe, and the documentation says what its file says."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmfusion.comparison import grid
from mmfusion.experiments.settings import resolve
from mmfusion.models.ablations import ablate

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "studies" / "modality_gap.py"

pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="this copy has no benchmarks/studies")


@pytest.fixture(scope="module")
def study() -> Any:
    found = importlib.util.spec_from_file_location("modality_gap_study", SCRIPT)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.read_csv(SCRIPT.with_suffix(".csv"))


def test_compares_default_with_and_without_anchors(study: Any) -> None:
    assert study.ANCHORS[study.WITHOUT] == ablate("cfcml")["no-anchors"]
    default = resolve("cfcml", study.DATASET, [{"model": study.ANCHORS[study.WITH]}])
    assert grid.address(default) == grid.address(resolve("cfcml"))


def test_table_summarizes_rows(study: Any) -> None:
    made = pd.DataFrame(
        [
            (seed, when, "distance", of, value + 0.1 * seed, low, high)
            for seed in (0, 1)
            for when, value, low, high in (
                *((when, value, 0, 1) for when, value in zip(study.STATES[:3], (1.0, 0.5, 0.2), strict=True)),
                (study.DIFFERENCE, -0.3, -0.4, -0.2 if seed else 0.1),
            )
            for of in ("a and b", "b and c")
        ],
        columns=["seed", "when", "measure", "of", "value", "low", "high"],
    )
    (line,) = study.table(made).to_dict("records")
    assert line["of"] == "pairs"
    assert line[study.WITH] == "0.250 (0.200 to 0.300)"
    assert line["other than 0"] == "2 of 4"


def test_rows_are_complete_and_consistent(study: Any, rows: pd.DataFrame) -> None:
    assert not rows.duplicated(["seed", "when", "measure", "of"]).any()
    assert rows.groupby(["seed", "when"]).size().nunique() == 1
    values = rows.pivot_table(index=["seed", "measure", "of"], columns="when", values="value")
    assert set(values.columns) == set(study.STATES)
    assert (values[study.WITH] - values[study.WITHOUT] - values[study.DIFFERENCE]).abs().max() < 2e-6
    assert (rows["low"] <= rows["high"]).all()


def test_page_matches_results(study: Any, rows: pd.DataFrame) -> None:
    page = (ROOT / "docs" / "guide" / "modality-gap.md").read_text(encoding="utf-8")
    shown = [
        tuple(cell.strip().replace("\N{MINUS SIGN}", "-") for cell in line.strip("|").split("|"))
        for line in re.findall(r"^\| [a-z ]+ \| (?:pairs|modalities|fused) \|.*\|$", page, re.M)
    ]
    assert shown == [tuple(line.values()) for line in study.table(rows).to_dict("records")]
    aucs = rows.dropna(subset="test_auc").groupby("when", sort=False)["test_auc"].unique()
    for name in (study.WITHOUT, study.WITH):
        assert f"{aucs[name].mean():.4f}" in page
