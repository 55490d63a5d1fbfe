"""The page as a browser shows it."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import browser, made_analyses
from mmfusion.comparison.analysis.results import Analysis
from mmfusion.comparison.report import write

pytest.importorskip("matplotlib")
PROGRAM = browser.chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no chromium, chromium-browser or google-chrome is installed"),
]
EVIL = "<script>console.error('evil')</script><img src=x onerror=console.error(1)>"


WIDTHS = (360, 390, 800, 1300)


def hostile() -> Analysis:
    """Class names, labels and paths that would run if they were not escaped; more methods than colours."""
    classes = (EVIL, "$\\frac{1}{2}$", "a class with a name that is much longer than any figure", "黒色腫")
    names = (EVIL, "concat", "image & table", "a_method*with`marks", "film", "cfcml no-enhancement")
    methods = [
        made_analyses.method(
            name, 0.91 - 0.01 * i, classes, reference=name == "concat", seed=i, modalities=(EVIL, "table")
        )
        for i, name in enumerate(names)
    ]
    methods[3] = dataclasses.replace(methods[3], robustness=None, contributions=(), learning=(), cost=None, scaled={})
    return made_analyses.analysis(made_analyses.comparison(methods, classes, shared={"data": {"root": EVIL}}))


def test_page_errors_are_detected(tmp_path: Path) -> None:
    assert PROGRAM is not None
    page = tmp_path / "bad.html"
    page.write_text(
        "<body><script>console.error('bad')</script><p style='width:900px;font-size:13px'>wide</p><figure "
        "id='f'><svg viewBox='0 0 100 100' width='100' style='font-size:16px'><title>t</title><text x='5' "
        "y='50'>one</text><text x='5' y='50'>two</text><text x='95' y='20'>three</text></svg></figure>"
        "<style>td::before {content: attr(data-label); display: block; width: 9px}</style>"
        "<table><tr><td data-label='left to the authors'>all</td></tr></table>"
    )
    result, console = browser.measure(PROGRAM, page, tmp_path, WIDTHS)
    assert len(console) == len(WIDTHS)
    assert "bad" in console[0]
    assert result[360]["scroll"] >= 900
    assert result[360]["small"] == ["wide"]
    assert result[360]["outside"] == ["f: three"]
    assert result[360]["covered"] == ["f: one / two"]
    assert result[360]["broken"] == ["left to the authors"]
    assert result[1300]["scroll"] <= 1300


@pytest.mark.parametrize("analysis", [made_analyses.small, hostile, made_analyses.bare], ids=lambda of: of.__name__)
def test_all_figures_are_shown_uncut(analysis: Callable[[], Analysis], tmp_path: Path) -> None:
    assert PROGRAM is not None
    page = write(analysis(), tmp_path / "report", skipped={EVIL: EVIL})
    wanted = re.findall(r"\]\(figures/(.*?)\.svg\)", (page.parent / "report.md").read_text(encoding="utf-8"))
    result, console = browser.measure(PROGRAM, page, tmp_path, WIDTHS)
    assert console == []
    for width in WIDTHS:
        seen = result[width]
        assert [item["key"] for item in seen["figures"]] == wanted
        assert all(item["width"] > 200 and item["height"] > 80 and item["title"] for item in seen["figures"])
        assert seen["scroll"] <= seen["client"] <= width
        assert seen["small"] == []
        assert seen["outside"] == []
        assert seen["covered"] == []
        assert seen["broken"] == []
