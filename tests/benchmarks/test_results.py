"""What the documentation says of the committed results is what their predictions say."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from mmfusion.comparison import grid, presets
from mmfusion.comparison.analysis.grouping import tables
from mmfusion.comparison.collect import collect
from mmfusion.experiments.settings import resolve
from mmfusion.metrics.classification import evaluate

ROOT = Path(__file__).parents[2]
SECTIONS = {"frozen": "HAM10000 with a frozen encoder", "finetuned": "HAM10000 with a learning encoder"}
ROW = re.compile(r"^\| (?P<name>[^|]+) \| (?P<auc>[\d.]+) \([^|]*\) \| (?P<seeds>[\d. ]+) \|", re.MULTILINE)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "benchmarks" / "results").is_dir(), reason="this copy has no benchmarks/results"),
]


def told(title: str) -> Mapping[str, tuple[str, str]]:
    """By method, mean and seeds as the page has them."""
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    section = page.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return {row["name"].replace("`", ""): (row["auc"], row["seeds"]) for row in ROW.finditer(section)}


@pytest.mark.parametrize("name", SECTIONS)
def test_page_matches_predictions(name: str) -> None:
    found = collect([ROOT / "benchmarks" / "results" / name])
    assert not found.skipped
    [table] = tables(found.runs)
    measured = {}
    for group in table.groups:
        runs = sorted(group.runs, key=lambda run: run.seed)
        assert [run.seed for run in runs] == [0, 1, 2]
        aucs = [evaluate(run.test.probabilities, run.test.labels)["auc"].item() for run in runs]
        measured[group.label] = f"{np.mean(aucs):.3f}", " ".join(f"{auc:.3f}" for auc in aucs)
    assert told(SECTIONS[name]) == measured


def test_results_have_no_absolute_paths() -> None:
    for path in (ROOT / "benchmarks" / "results").rglob("*.json"):
        assert not re.search(r'": "(/|[A-Z]:)', path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize("name", SECTIONS)
def test_preset_addresses_match_committed_runs(name: str) -> None:
    """A changed default would give the preset's runs another address, or take another model's run for its own."""
    planned = presets.load(name, "ham10000").plan(out=Path("runs"))
    committed = (ROOT / "benchmarks" / "results" / name / "ham10000").glob("*/seed*")
    assert {one.folder.name for one in planned} <= {path.name for path in committed}


def test_other_default_gives_other_address() -> None:
    former = {"model": {"compression": "conv", "hidden": [128, 16]}}
    assert grid.address(resolve("cfcml")) != grid.address(resolve("cfcml", overrides=[former]))
