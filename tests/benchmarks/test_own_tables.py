"""What the documentation says of the defaults for own tables is what the study's file says."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
STUDY = ROOT / "benchmarks" / "studies" / "own_tables.csv"
TABLES = ("ultrasound, side", "ultrasound, side and BI-RADS", "dermoscopy", "strong table, weak images")
SINGLE = ("image", "tabular_mlp", "logistic regression", "gradient boosting")
DEFAULTS = {
    "concat": "concat, dropout 0.5, modality dropout 0.4",
    "cfcml": "cfcml, 8 latents, dropout 0.5, modality dropout 0.4",
}

pytestmark = pytest.mark.skipif(not STUDY.is_file(), reason="this copy has no benchmarks/studies")
OTHERS = {name: f"{name}, dropout 0.5, modality dropout 0.4" for name in ("gmu", "film", "mbt")}
STRONG = (TABLES[1], TABLES[3])


def rows() -> pd.DataFrame:
    """One row per table, split and candidate, scikit-learn's references among them."""
    frame = pd.read_csv(STUDY)
    references = (
        frame[["table", "split", *SINGLE[2:]]].melt(["table", "split"], SINGLE[2:], "candidate", "holdout").dropna()
    )
    references = references.drop_duplicates(["table", "split", "candidate"])
    return pd.concat([frame, references], ignore_index=True)


def section(title: str) -> dict[str, list[str]]:
    """Cells of each row of the tables under a heading, by the row's name."""
    page = (ROOT / "docs" / "guide" / "choosing.md").read_text(encoding="utf-8")
    text = re.split(r"\n##+ ", page.split(f"# {title}\n", 1)[1])[0]
    lines = [
        line.strip().removeprefix("|").removesuffix("|").split("|")
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return {cells[0].replace("`", "").strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def scores(frame: pd.DataFrame, candidate: str, splits: list[int]) -> list[str]:
    """Means over the splits as the page has them; empty where the candidate was not run on all of them."""
    cells = []
    for table in TABLES:
        own = frame[(frame["table"] == table) & (frame["candidate"] == candidate) & frame["split"].isin(splits)]
        if len(own) < len(splits):
            cells.append("")
            continue
        mean = own[["validation", "holdout", "log_loss"]].mean()
        told = f"{mean['validation']:.3f}, {mean['holdout']:.3f} ({mean['log_loss']:.2f})"
        cells.append(f"{mean['holdout']:.3f}" if pd.isna(mean["validation"]) else told)
    return cells


def differences(frame: pd.DataFrame, candidate: str, splits: list[int], tables: Sequence[str] = TABLES) -> list[str]:
    """Hold-out AUC minus that of the better single modality: the mean, then each split's."""
    cells = []
    for table in tables:
        by_split = frame[(frame["table"] == table) & frame["split"].isin(splits)].pivot(
            index="split", columns="candidate", values="holdout"
        )
        better = by_split[list(SINGLE)].mean().idxmax()
        found = by_split[candidate] - by_split[better]
        cells.append(f"{found.mean():+.3f} ({', '.join(f'{value:+.3f}' for value in found)})")
    return cells


def test_page_matches_results_of_first_split() -> None:
    frame, told = rows(), section("What was tried on the first split")
    candidates = {name: cells for name, cells in told.items() if name in set(frame["candidate"])}
    assert len(candidates) > 8
    assert candidates == {name: scores(frame, name, [0]) for name in candidates}


def test_page_matches_results_of_defaults() -> None:
    frame, told = rows(), section("Fusion and the better single modality")
    counts = frame[frame["candidate"].isin([*SINGLE, *DEFAULTS.values()])].groupby("split").size()
    splits = [split for split, count in counts.items() if count == len(TABLES) * len((*SINGLE, *DEFAULTS))]
    assert len(splits) >= 2
    for name in SINGLE:
        assert told[name] == scores(frame, name, splits)
    for name, candidate in DEFAULTS.items():
        assert told[name] == scores(frame, candidate, splits)
        assert told[f"{name} minus the better one"] == differences(frame, candidate, splits)


def test_page_matches_results_of_other_methods() -> None:
    frame, told = rows(), section("Other methods where the table is strong")
    assert {name: cells for name, cells in told.items() if name in OTHERS} == {
        name: differences(frame, candidate, [0, 1], STRONG) for name, candidate in OTHERS.items()
    }
    changes = {name: cells for name, cells in told.items() if name.startswith("mbt, ")}
    assert len(changes) == 3
    assert changes == {name: [scores(frame, name, [0, 1])[TABLES.index(table)] for table in STRONG] for name in changes}
