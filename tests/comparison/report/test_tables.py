import csv
import dataclasses
import io

import pytest

from helpers import made_analyses
from mmfusion.comparison.report import tables


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# Tests of repeats, ensembles and several datasets have comparisons with these.
_OF_OTHERS = ("noise", "ensembles", "across_datasets")


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    return tables.tables(made_analyses.small(), {"runs/a, b": "it is unfinished"})


def test_all_tables_are_written(files: dict[str, str]) -> None:
    assert set(files) == {f"{name}.csv" for name in tables.NAMES if name not in _OF_OTHERS}


def test_ranking_is_not_rounded(files: dict[str, str]) -> None:
    result = rows(files["ranking.csv"])
    assert len(result) == 3 * 7
    score = made_analyses.small().comparisons[0].methods[0].scores["auc"]
    assert result[0] == {
        "comparison": "derm7pt-resnet18",
        "method": "cfcml",
        "rank": "1",
        "rank_best": "",
        "rank_worst": "",
        "whole": "",
        "model": "cfcml",
        "reference": "0",
        "runs": "3",
        "metric": "auc",
        "mean": "0.9",
        "sd": repr(score.sd),
        "low": repr(score.low),
        "high": repr(score.high),
        "error": repr(score.error),
    }
    assert [row["reference"] for row in result if row["metric"] == "auc"] == ["0", "1", "0"]


def test_runs_have_their_metrics(files: dict[str, str]) -> None:
    result = rows(files["runs.csv"])
    assert [row["seed"] for row in result] == ["0", "1", "2"] * 3
    points = made_analyses.small().comparisons[0].methods[0].scores["auc"].points
    assert [float(row["auc"]) for row in result[:3]] == list(points)
    assert result[0]["folder"] == "runs/cfcml/seed0"


def test_unknown_values_are_empty(files: dict[str, str]) -> None:
    exploratory = [row for row in rows(files["tests.csv"]) if row["metric"] == "accuracy"]
    assert len(exploratory) == 2
    assert (exploratory[0]["low"], exploratory[0]["p"], exploratory[0]["verdict"]) == ("", "", "none")
    primary = [row for row in rows(files["tests.csv"]) if row["metric"] == "auc"]
    assert [row["verdict"] for row in primary] == ["better", "worse"]


def test_robustness_has_shares_and_area(files: dict[str, str]) -> None:
    values = [row for row in rows(files["robustness.csv"]) if row["method"] == "concat"]
    assert [row["share"] for row in values] == ["0.0", "0.1", "0.3", "0.5", "0.7", "0.9", ""]
    assert [row["what"] for row in values] == ["cells"] * 6 + ["area"]


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("contribution", 3 * 4),
        ("calibration", 3 * 6),
        ("confusion", 3 * 4),
        ("subgroups", 3 * 5),
        ("learning", 3 * 3 * 8),
        ("cost", 3),
        ("settings", 5),
        ("skipped", 1),
    ],
)
def test_number_of_rows(files: dict[str, str], name: str, n: int) -> None:
    assert len(rows(files[f"{name}.csv"])) == n


def test_one_epoch_per_run_is_chosen(files: dict[str, str]) -> None:
    kept = [row["epoch"] for row in rows(files["learning.csv"]) if row["chosen"] == "1"]
    assert kept == ["6", "7", "8"] * 3


def test_user_text_is_quoted() -> None:
    evil = 'a,"b"\n<script>'
    result = made_analyses.comparison([dataclasses.replace(made_analyses.method("x", 0.9), label=evil)])
    assert {row["method"] for row in rows(tables.tables(made_analyses.analysis(result), {})["ranking.csv"])} == {evil}


def test_empty_tables_are_omitted() -> None:
    assert set(tables.tables(made_analyses.bare(), {})) == {"ranking.csv", "runs.csv", "confusion.csv"}
