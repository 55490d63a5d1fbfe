import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from helpers import made_analyses
from mmfusion.comparison.report import pages, tables, write, writing
from mmfusion.comparison.report.chapters import contribution
from mmfusion.comparison.report.chapters.chapter import Chapter

pytest.importorskip("matplotlib")
PARTS = (
    "Verdict: which method is better?",
    "Other metrics: do they agree?",
    "ROC curves",
    "Precision and recall",
    "Confusion matrices",
    "Calibration: do the probabilities hold?",
    "Decision curves: is a decision by the model worth it?",
    "Subgroups: who is served worst?",
    "Robustness to missing cells",
    "Missing modalities: what each brings",
    "Learning curves",
    "Cost",
    "Data, settings, versions",
    "Reporting checklists: what is left to write?",
)


@pytest.mark.slow
def test_missing_parts_are_one_line_each() -> None:
    page, _, pictures = pages.render(made_analyses.bare(), {})
    assert tuple(re.findall(r"<h3[^>]*>([^<]+)</h3>", page)) == PARTS
    assert re.findall(r'<p class="missing">([^<]+)</p>', page) == [
        "There are no tests: the reference is not among the runs.",
        "No other metric was chosen.",
        "No method has these curves.",
        "No method has these curves.",
        "No method has reliability curves.",
        "A temperature (no validation cases are stored with the runs) is missing for image.",
        "No method has decision curves.",
        "There are no subgroups: the data have no sex, age or skin type, or the runs did not store them.",
        "No run was evaluated with missing cells.",
        "No run was evaluated without one of its modalities.",
        "No run has a history.",
        "No run recorded its cost.",
        "No run recorded its versions and hardware.",
    ]
    assert [picture.key for picture in pictures] == ["c1-forest", "c1-confusion-1"]


@pytest.mark.slow
def test_report_files_are_deterministic(tmp_path: Path) -> None:
    page = write(made_analyses.bare(), tmp_path / "a" / "b", skipped={"x": "y"})
    assert page == tmp_path / "a" / "b" / "report.html"
    before = {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    assert {path.name for path in before} == {
        "report.html",
        "report.md",
        "ranking.csv",
        "runs.csv",
        "confusion.csv",
        "skipped.csv",
        "c1-forest.svg",
        "c1-confusion-1.svg",
    }
    old, rows = page.parent / "figures" / "c2-forest.svg", page.parent / "figures" / "mine.svg"
    for path in (old, rows, page.parent / "cost.csv", page.parent / "notes.csv"):
        path.write_text("former")
    write(made_analyses.bare(), page.parent, skipped={"x": "y"})
    after = {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    assert after == before | {rows: b"former", page.parent / "notes.csv": b"former"}


def test_output_path_is_a_file_raises(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(FileExistsError, match="is a file: choose another folder"):
        write(made_analyses.bare(), tmp_path / "x")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(made_analyses.small(), tmp_path_factory.mktemp("report"), skipped={"runs/old": "unfinished"}).parent


@pytest.mark.slow
def test_page_is_self_contained(whole: Path) -> None:
    text = (whole / "report.html").read_text(encoding="utf-8")
    for outside in ("http:", "https:", "src=", "@import", "url(http", "<script", '<link rel="stylesheet'):
        assert outside not in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)
    for part in PARTS:
        assert f">{part}</h3>" in text
    assert "<li>runs/old: unfinished</li>" in text
    # The answer comes before the warnings, and both before every table.
    places = [
        text.index(part) for part in ("cfcml has the highest AUC", "1 folder skipped", "Before you read", "<table")
    ]
    assert places == sorted(places)


@pytest.mark.slow
def test_figures_of_page_are_files_of_markdown(whole: Path) -> None:
    text, markdown = ((whole / f"report.{end}").read_text(encoding="utf-8") for end in ("html", "md"))
    figures = re.findall(r'<figure id="([^"]+)"', text)
    assert re.findall(r"\]\(figures/([^)]+)\.svg\)", markdown) == figures
    assert {path.stem for path in (whole / "figures").iterdir()} == set(figures)
    for path in (whole / "figures").iterdir():
        assert len(list(ElementTree.parse(path).getroot())) > 3, path
    rows = [line for line in markdown.splitlines() if line.startswith("| concat (reference)") or "**concat" in line]
    assert "0.870 (0.858 to 0.882)" in rows[0]


@pytest.mark.slow
def test_comparisons_are_separate(tmp_path: Path) -> None:
    first = made_analyses.bare().comparisons[0]
    second = dataclasses.replace(first, name="other-frozen", dataset="men")
    text = write(made_analyses.analysis(first, second), tmp_path).read_text(encoding="utf-8")
    assert re.findall(r"<h2[^>]*>([^<]+)</h2>", text)[1:] == [
        first.name,
        "other-frozen",
        "How the numbers were computed",
    ]
    assert text.count("<caption>Methods by mean AUC") == 2
    assert "Comparison of methods on derm7pt and men" in text
    rows = (tmp_path / "ranking.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["comparison", first.name, "other-frozen"]


@pytest.mark.slow
def test_several_datasets_have_a_section(tmp_path: Path) -> None:
    [one] = made_analyses.small().comparisons
    other = dataclasses.replace(one, name="men-resnet18", dataset="men")
    page = writing.write(made_analyses.analysis(one, other), tmp_path)
    assert "Across datasets" in page.read_text(encoding="utf-8")
    text = (tmp_path / writing.MARKDOWN).read_text(encoding="utf-8")
    assert "| cfcml | 1.0 | 0.900 (1) | 0.900 (1) |" in text
    assert "With fewer than 8 datasets, everything in this part is descriptive" in text
    assert "figures/across-ranks.svg" in text
    assert (tmp_path / "across_datasets.csv").read_text().startswith("method,comparison,score,rank,mean_rank,")
    writing.write(made_analyses.analysis(one), tmp_path)
    assert "Across datasets" not in page.read_text(encoding="utf-8")
    assert not list(tmp_path.rglob("across*"))


def test_table_names_are_listed() -> None:
    assert set(tables.NAMES) >= {"ranking", "tests", "subgroups", "robustness", "contribution", "cost", "skipped"}


def test_contribution_table_has_one_row_per_method() -> None:
    full = made_analyses.method("cfcml", 0.9, modalities=("image", "table"))
    image = dataclasses.replace(full, label="image", contributions=full.contributions[:2])
    bare = dataclasses.replace(made_analyses.bare().comparisons[0].methods[0], label="bare")
    part = contribution.part(Chapter.of(made_analyses.comparison([full, image, bare]), 1, 0.95))
    assert part.values["columns"] == [
        "image, removed",
        "image, permuted between cases",
        "table, removed",
        "table, permuted between cases",
    ]
    assert part.values["falls"] == [
        (
            "cfcml",
            "+0.150 (+0.138 to +0.162)",
            "+0.180 (+0.168 to +0.192)",
            "+0.090 (+0.078 to +0.102)",
            "+0.110 (+0.098 to +0.122)",
        ),
        ("image", "+0.150 (+0.138 to +0.162)", "+0.180 (+0.168 to +0.192)", "\u2013", "\u2013"),
    ]
    assert part.values["left"][1][1] == "0.750 (0.740 to 0.760)"
    assert part.lacking == ("This", ["bare"])
