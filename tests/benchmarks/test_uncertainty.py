"""The study of the statistics: its bounds, what the page says of it, and a small part of it run again."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "studies" / "uncertainty.py"
STUDY = SCRIPT.with_suffix(".csv")
PAGE = ROOT / "docs" / "guide" / "statistics.md"

pytestmark = pytest.mark.skipif(not STUDY.is_file(), reason="this copy has no benchmarks/studies")


def part(name: str) -> pd.DataFrame:
    frame = pd.read_csv(STUDY)
    return frame[frame["part"] == name]


def test_type_i_error_is_within_bounds() -> None:
    errors = part("type I error")
    assert set(zip(errors["n"], errors["seed_sd"])) == {(n, sd) for n in (320, 959, 1500) for sd in (0, 0.01, 0.02)}
    assert errors["rate"].max() <= 0.08
    assert errors["rate"].mean() >= 0.015
    # What the rule repairs.
    assert errors["cases_alone"].max() > 0.3


def test_family_wise_error_is_below_a_tenth() -> None:
    errors = part("family-wise error")
    assert set(errors["seed_sd"]) == {0, 0.01, 0.02}
    assert errors["rate"].max() < 0.1


@pytest.mark.parametrize("metric", ["auc", "average_precision", "accuracy_1"])
def test_interval_coverage_is_within_bounds(metric: str) -> None:
    rates = part("coverage").query("metric == @metric")
    assert {0.75, 0.9, 0.97} == set(rates["auc"])
    assert {0, 1} == set(rates["grouped"])
    assert 10 in set(rates["positives"])
    assert 0.93 <= rates["rate"].mean() <= 0.97
    # Bounds of 91 and 99%, and the chance of 600 simulations.
    assert rates["rate"].between(0.91, 0.99 + 2 * np.sqrt(0.99 * 0.01 / 600)).all()


def test_page_matches_results() -> None:
    text = PAGE.read_text(encoding="utf-8")
    power = part("power")
    for row in part("type I error").itertuples():
        own = power[(power["n"] == row.n) & (power["seed_sd"] == row.seed_sd)].set_index("effect")["rate"]
        cells = (
            f"{100 * row.rate:.1f}% | {100 * row.cases_alone:.1f}% | {100 * own[0.01]:.0f}% | {100 * own[0.02]:.0f}%"
        )
        assert f"| {row.n:,} | {row.seed_sd:g} | {cells} |" in text
    for (n, positives, seeds, grouped), rows in part("coverage").groupby(["n", "positives", "seeds", "grouped"]):
        cells = [
            " ".join(f"{100 * rate:.1f}" for rate in rows[rows["metric"] == metric].sort_values("auc")["rate"])
            for metric in ("auc", "average_precision", "accuracy_1")
        ]
        words = "yes" if grouped else "no"
        assert f"| {n:.0f} | {positives:.0f} | {seeds:.0f} | {words} | {' | '.join(cells)} |" in text
    assert not re.search("<!--", text)


@pytest.mark.slow
def test_rerun_of_small_part_matches() -> None:
    """Seeds that vary by 0.02: with the cases alone a third of the tests err."""
    spec = importlib.util.spec_from_file_location("uncertainty", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    study = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(study)
    rng = np.random.default_rng(0)
    p = np.concatenate([study.tested(rng, 320, 0.03, 2, 0.0, 120) for _ in range(120)])
    wrong = (p < 0.05).mean(axis=0)
    # 120 simulations: 0.05 has a standard error of 0.02, the bound of 0.08 one of 0.025.
    assert wrong[0] <= 0.13
    assert wrong[1] > wrong[0] + 0.1
    found = [study.covered(rng, 100, 0.1, 0.9, True, 1, 0.0)[0] for _ in range(60)]
    true = study.truth(0.9, 0.1, 0.0)
    for metric in ("auc", "average_precision", "accuracy_1"):
        inside = [one[metric].low <= true[metric] <= one[metric].high for one in found]
        assert np.mean(inside) >= 0.85
