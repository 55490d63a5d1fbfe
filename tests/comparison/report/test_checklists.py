import dataclasses
import re

import pytest

from helpers import made_analyses
from mmfusion.comparison.analysis.results import Caution, Comparison
from mmfusion.comparison.report.chapters import checklists
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.chapters.checklist_facts import NAMES, facts

TRIPOD = [
    *(
        "1",
        "2",
        "3a",
        "3b",
        "3c",
        "4",
        "5a",
        "5b",
        "6a",
        "6b",
        "6c",
        "7",
        "8a",
        "8b",
        "8c",
        "9a",
        "9b",
        "9c",
        "10",
        "11",
    ),
    *("12a", "12b", "12c", "12d", "12e", "12f", "12g", "13", "14", "15", "16", "17"),
    *("18a", "18b", "18c", "18d", "18e", "18f", "19", "20a", "20b", "20c", "21", "22", "23a", "23b", "24", "25", "26"),
    *("27a", "27b", "27c"),
]


def chapter(comparison: Comparison | None = None) -> Chapter:
    return Chapter.of(comparison or made_analyses.small().comparisons[0], 1, 0.95)


def rows(of: Chapter) -> dict[tuple[str, str], tuple[str, str]]:
    """What the runs say about each item, and what is left to the authors."""
    tables = checklists.part(of).values["tables"]
    return {(name, number): (fact, left) for name, table, *_ in tables for number, _, fact, left in table}


@pytest.mark.parametrize(
    ("file", "numbers"), [("tripod_ai", TRIPOD), ("claim", [str(number) for number in range(1, 45)])]
)
def test_every_item_is_filled_or_blank(file: str, numbers: list[str]) -> None:
    _, items = checklists.read(file)
    assert [item.number for item in items] == numbers
    assert all(item.fact or item.authors for item in items)
    assert {item.fact for item in items} - {""} <= NAMES
    assert all(item.asks and not item.asks.endswith(".") for item in items)


def test_every_fact_is_used() -> None:
    assert {item.fact for file in checklists.FILES for item in checklists.read(file)[1]} - {""} == NAMES


def test_blanks_are_named() -> None:
    found = rows(chapter())
    assert found["TRIPOD+AI", "17"] == ("", "Approval, and consent or its waiver")
    assert found["TRIPOD+AI", "8a"] == (
        "One of 2 classes: benign and malignant.",
        "How the outcome was established",
    )
    # Of 52 and 44 items each is filled, filled in part, or blank.
    for name, table, filled, partly, blank in checklists.part(chapter()).values["tables"]:
        assert filled + partly + blank == len(table)
        assert blank == sum(fact == "" != left for *_, fact, left in table), name
        assert filled == sum(left == "" != fact for *_, fact, left in table)


def test_facts_of_runs_are_filled() -> None:
    notes = (Caution("note", "It is licensed CC0."), Caution("seeds", "There are 3 seeds."))
    comparison = dataclasses.replace(made_analyses.small().comparisons[0], cautions=notes, n_train=1000.0)
    known = facts(chapter(comparison))
    assert known["flow"] == (
        "1,000 training cases, 200 validation cases and 320 test cases (benign 160 and malignant 106)."
    )
    assert known["data_terms"] == "It is licensed CC0."
    assert known["limitations"] == "There are 3 seeds."
    assert known["predictors"] == "Modalities: image and table."
    assert known["fairness"].startswith("concat by sex: worst male, gap 0.020 (\u22120.010 to 0.050).")
    assert known["performance"].startswith("AUC: cfcml 0.900 (0.888 to 0.912) and concat 0.870 (0.858 to 0.882).")
    assert known["training"].startswith("3 methods, 9 runs. Settings: epochs 8, lr 0.001.")
    assert known["failures"].startswith("concat most often errs in benign, of which it calls 30% malignant.")


def test_unknown_facts_are_blank() -> None:
    of = chapter(made_analyses.bare().comparisons[0])
    known = facts(of)
    for name in ("predictors", "fairness", "characteristics", "software", "clusters", "updating", "data_terms"):
        assert known[name] == ""
    # An item that the runs might have filled alone names itself.
    assert rows(of)["TRIPOD+AI", "24"] == ("", "The updated model and its performance")
    assert not re.search(r"\bnan\b|None", " ".join(text for texts in rows(of).values() for text in texts))


def test_epoch_chosen_on_test_set_is_reported() -> None:
    comparison = made_analyses.small().comparisons[0]
    peeking = dataclasses.replace(comparison.methods[0], settings={"train": {"select_on": "test"}})
    assert "never seen" in facts(chapter(comparison))["partition"]
    changed = dataclasses.replace(comparison, methods=(peeking, *comparison.methods[1:]))
    assert "on which the epoch was chosen" in facts(chapter(changed))["partition"]
