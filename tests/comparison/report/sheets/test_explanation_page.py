"""The pages of an explanation, of an untrained model on made-up cases with hostile names."""

from pathlib import Path

import pytest

import mmfusion as mmf
from helpers import browser, explanations
from helpers.explanations import EVIL
from mmfusion.comparison.report.explanation_page import file_name
from mmfusion.experiments.explaining import Explanation, explanation_files
from mmfusion.training.result_files import read_json

pytest.importorskip("matplotlib")
pytestmark = pytest.mark.slow
PROGRAM = browser.chromium()
LONG = "a class with a name that is much longer than any figure, and commas"


def explained(root: Path, names: tuple[str, ...], column: str, model: str = "concat", evil: bool = True) -> Explanation:
    frame = explanations.cases(root, names=names, column=column)
    if evil:
        frame["case"] = [f"{EVIL} {i}" for i in range(len(frame))]
        frame["scanner"] = frame["scanner"].map({"A": EVIL, "B": "$\\frac{1}{2}$"})
    place = explanations.run(root / "run", frame, model, names=names, column=column, dim=8)
    return mmf.load(place, "cpu").explain(
        [f"id:{name}" for name in frame["case"][:3]],
        table=frame,
        image_root=root,
        missing_images="absent",
        n_cohort=6,
        n_faithfulness=2,
        regions=4,
        n_orders=2,
        verbose=False,
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Explanation, Path]:
    root = tmp_path_factory.mktemp("hostile")
    found = explained(root, (LONG, EVIL), f"age {EVIL}")
    mmf.write_explanation(found, root / "out")
    return found, root / "out"


def test_each_page_is_one_file_and_nothing_of_a_name_is_markup(hostile: tuple[Explanation, Path]) -> None:
    _, out = hostile
    pages = [out / "explanation.html", *sorted((out / "sheets").iterdir())]
    assert len(pages) == 4
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert "<img src=x" not in text
        assert "http" not in text.replace("http://www.w3.org", "")
        assert str(out.parent) not in text
        assert "nan" not in text.replace("finance", "").replace("base64", "")[:20000].split("base64")[0]
    figures = [path.name for path in (out / "figures").iterdir()]
    assert all(path.suffix == ".png" for path in (out / "figures").iterdir())
    assert {"cohort-by-1.png", "cohort-columns.png"} <= set(figures)
    first = pages[1].stem
    assert {f"{first}-contributions.png", f"{first}-photo-map.png", f"{first}-photo-regions.png"} <= set(figures)
    assert (out / "figures" / f"{first}-photo-map.png").read_bytes().startswith(b"\x89PNG")
    assert len(read_json(out / "explanation.json")["sheets"]) == 3
    csv = (out / "contributions.csv").read_text()
    assert "region 0" in csv
    assert "presence" in csv


def test_the_cohort_lists_the_sheets_and_sheets_link_each_other(hostile: tuple[Explanation, Path]) -> None:
    found, out = hostile
    names = sorted(path.name for path in (out / "sheets").iterdir())
    page = (out / "explanation.html").read_text()
    assert all(f'href="sheets/{name}"' in page for name in names)
    assert f'href="{names[2]}"' in (out / "sheets" / names[1]).read_text()
    assert page.count("<figure id=") >= len(found.classes) + 2


def test_a_sheet_says_what_is_missing_and_why(hostile: tuple[Explanation, Path]) -> None:
    _, out = hostile
    first, second, third = (path.read_text() for path in sorted((out / "sheets").iterdir()))
    assert "The conformal set at 90%" in first
    assert "Shown as large as its file, 30 x 40." in first
    assert "They are not known: the folder does not say which cases it was trained on" in first
    assert "Class means of the training embeddings" in first
    assert "what is missing contributes 0" in second
    assert "photo: the case lacks it" in third


def test_a_former_explanation_is_replaced_and_other_files_are_not(hostile: tuple[Explanation, Path]) -> None:
    found, out = hostile
    stale = out / "sheets" / "99-old.html"
    stale.write_text("old")
    before = (out / "explanation.html").read_bytes()
    mmf.write_explanation(found, out)
    assert not stale.exists()
    assert (out / "explanation.html").read_bytes() == before
    (out.parent / "mine").mkdir()
    (out.parent / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        explanation_files.write(found, out.parent / "mine")


@pytest.mark.skipif(PROGRAM is None, reason="no chromium, chromium-browser or google-chrome is installed")
def test_nothing_is_run_cut_or_scrolls_sideways(hostile: tuple[Explanation, Path], tmp_path: Path) -> None:
    assert PROGRAM is not None
    _, out = hostile
    for page in (out / "explanation.html", sorted((out / "sheets").iterdir())[0]):
        result, console = browser.measure(PROGRAM, page, tmp_path, (390, 1300))
        assert console == []
        for width, seen in result.items():
            assert seen["scroll"] <= seen["client"] <= width
            assert seen["small"] == []
            assert seen["outside"] == []
            assert seen["covered"] == []


def test_models_of_a_table_alone_and_of_three_classes_have_pages(tmp_path: Path) -> None:
    found = explained(tmp_path, ("a", "b", "c"), "age", "tabular", evil=False)
    page = mmf.write_explanation(found, tmp_path / "out")
    sheet = sorted((page.parent / "sheets").iterdir())[0].read_text()
    assert "The model looks at no image." in sheet
    assert "It was not measured: the model looks at no image." in page.read_text()
    assert "Mean contributions by class" in page.read_text()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("case 1/2", "case_1_2"), ("../..", "_"), ("", "case"), ("ä" * 99, "_" * 60), ("a-b.c", "a-b.c")],
)
def test_names_of_files(text: str, expected: str) -> None:
    assert file_name(text) == expected
