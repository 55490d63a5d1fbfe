import csv
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mmfusion.comparison import summary
from mmfusion.comparison.grid import Planned
from mmfusion.comparison.sweep import Outcome
from mmfusion.experiments.settings import RunSettings, Settings

CEILINGS = {"image": 0.75, "table": 0.5, "both": 0.95}


def outcome(
    label: str,
    auc: float | None,
    *,
    dataset: str = "d",
    seconds: float = 10.0,
    ceilings: dict[str, float] | None = None,
) -> Outcome:
    low, high = (None, None) if auc is None else (auc - 0.1, auc + 0.1)
    metrics: dict[str, Any] = {
        "test": {"auc": {"value": auc, "low": low, "high": high}},
        "ceilings": CEILINGS if ceilings is None else ceilings,
        "cost": {"parameters": {"total": 1234}, "seconds": seconds},
    }
    return Outcome(Planned(label, Settings(RunSettings("m", dataset)), "0"), metrics, None)


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    summary.check_free(tmp_path / "new")
    summary.check_free(tmp_path)
    mine = tmp_path / summary.CSV
    for content in ("case,diagnosis\n1,nevus\n", "", "dataset,method,runs,mine\n"):
        mine.write_text(content)
        with pytest.raises(
            FileExistsError, match=r"table\.csv would be replaced .* choose another folder \(run\.out\)$"
        ):
            summary.check_free(tmp_path)
        assert mine.read_text() == content
    mine.unlink()
    (tmp_path / summary.MARKDOWN).write_text("mine")
    with pytest.raises(FileExistsError, match=r"table\.md would be replaced"):
        summary.check_free(tmp_path)
    (tmp_path / "study").mkdir()
    summary.write(summary.rows([outcome("a", 0.8)]), tmp_path / "study")
    summary.check_free(tmp_path / "study")  # the same call continues


def test_one_row_per_method(tmp_path: Path) -> None:
    outcomes = [outcome("a", 0.8, seconds=5), outcome("b[x=1]", 0.9), outcome("a", 0.9, seconds=7)]
    failed = Outcome(outcomes[0].planned, None, "no")
    trial = Outcome(Planned("a", Settings(RunSettings("m", "d", test=False)), "1"), {"chosen": {"value": 1.0}}, None)
    rows = summary.rows([*outcomes, failed, trial])
    assert [(row.method, row.aucs) for row in rows] == [("a", (0.8, 0.9)), ("b[x=1]", (0.9,))]
    assert rows[0].mean == pytest.approx(0.85)
    assert rows[0].spread == pytest.approx(0.1 / 2**0.5)
    assert rows[0].gap_closed == pytest.approx(0.5)
    assert rows[0].seconds == 6
    assert (rows[0].interval, rows[1].interval) == (None, (0.8, 1.0))
    assert rows[1].spread is None
    summary.write(rows, tmp_path)
    lines = (tmp_path / summary.MARKDOWN).read_text().splitlines()
    assert lines == [
        "`d`",
        "",
        "| method | test AUC, mean ± sd | by run | gap closed | parameters | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| a | 0.850 ± 0.071 | 0.800 0.900 | 50% | 1,234 | 6 |",
        "| b[x=1] | 0.900 (0.800 to 1.000) | 0.900 | 75% | 1,234 | 10 |",
        "",
        "Ceilings: image 0.750, table 0.500, both 0.950.",
    ]
    with (tmp_path / summary.CSV).open() as file:
        read = list(csv.DictReader(file))
    assert [row["method"] for row in read] == ["a", "b[x=1]"]
    assert float(read[0]["auc"]) == rows[0].mean
    assert [float(value) for value in read[0]["auc_by_run"].split()] == [0.8, 0.9]
    assert (read[0]["runs"], read[0]["parameters"], read[1]["auc_sd"]) == ("2", "1234", "")


def test_undefined_values() -> None:
    rows = summary.rows([outcome("a", None, ceilings={})])
    assert (rows[0].mean, rows[0].gap_closed, rows[0].interval) == (None, None, None)
    assert "| a | undefined | 1,234 | 10 |" in summary.markdown(rows)
    some = summary.rows([outcome("a", auc, ceilings={}) for auc in (0.8, None, 0.9)])
    assert "| a | 0.850 ± 0.071, undefined in 1 of 3 |" in summary.markdown(some)


def test_one_table_per_dataset() -> None:
    text = summary.markdown(summary.rows([outcome("a", 0.8), outcome("a", 0.7, dataset="e", ceilings={})]))
    first, second = text.split("`e`")
    assert "0.800" in first
    assert "Ceilings" in first
    assert "0.700" in second
    assert "Ceilings" not in second


def test_table_on_terminal() -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(summary.table(summary.rows([outcome("tip[dim=3]", 0.8)]), "d"))
    assert "tip[dim=3]" in capture.get()
    assert "Ceilings: image 0.750" in capture.get()
