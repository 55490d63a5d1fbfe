import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

from mmfusion.comparison.report.canvas import WIDTH, Picture
from mmfusion.comparison.report.chapters.learning_curves import mean
from mmfusion.comparison.report.curve_plot import Line, square
from mmfusion.comparison.report.drawing import spread
from mmfusion.comparison.report.forest_plot import Mark, Row, forest
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.report.matrix_plot import matrix, shade
from mmfusion.comparison.report.palette import OTHER, REFERENCE, styles
from mmfusion.comparison.report.scatter_plot import Dot, scatter, ticks

pytest.importorskip("matplotlib")
NAN = float("nan")
A = styles(["a"], None)["a"]


def texts(picture: Picture) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture.inline).iter("text")]


def marks(picture: Picture, colour: str) -> int:
    """Markers with that edge."""
    uses = ElementTree.fromstring(picture.inline).iter("use")
    return sum(f"stroke: var(--{colour})" in element.attrib.get("style", "") for element in uses)


def test_a_forest_has_every_row_point_and_number() -> None:
    rows = (
        Row("1 concat", "0.90", (Mark(0.9, 0.88, 0.92, (0.89, 0.91), REFERENCE),), bold=True),
        Row("2 a very long name of a method that nobody can read", "0.85", (Mark(0.85, NAN, NAN, (0.85,), A),)),
        Row("3 nothing", "\u2013", (Mark(NAN, NAN, NAN, (), OTHER),)),
    )
    picture = forest("k", "t", "d", rows, axis="AUC", line=0.9)
    words = texts(picture)
    assert {"1 concat", "0.90", "0.85", "3 nothing", "AUC"} <= set(words)
    assert any(word.startswith("2 a very") and word.endswith("…") for word in words)
    assert "nan" not in picture.inline.lower()
    # Two runs and the mean of the reference; of one run the mean says it all.
    assert (marks(picture, "ink"), marks(picture, "series-1")) == (3, 1)
    assert picture.width == WIDTH
    assert picture.height < 300


@pytest.mark.slow
def test_a_name_without_room_beside_its_number_has_a_line_of_its_own() -> None:
    number = "0.920 (0.900\u20130.938)"
    mark = Mark(0.92, 0.9, 0.938, (), A)
    long, brief = (Row(name, number, (mark,)) for name in ("4 cfcml: no-crossmodal-anchor", "4 cfcml"))
    picture, lower = (forest("k", "t", "d", [row, brief], axis="AUC", line=0.91) for row in (long, brief))
    assert {long.label, number} <= set(texts(picture))
    assert picture.height == lower.height + 20
    y = {
        element.text: float(element.get("y", "nan")) for element in ElementTree.fromstring(picture.inline).iter("text")
    }
    assert y[long.label] < y[brief.label]


@pytest.mark.slow
def test_two_intervals_of_a_row_lie_below_each_other() -> None:
    row = Row("a", "", (Mark(0.1, 0.05, 0.15, (), A), Mark(0.2, 0.15, 0.25, (), A, hollow=True)))
    first = Row("a", "", row.marks[:1])
    taller = forest("k", "t", "d", [row], axis="fall", line=0.0)
    assert taller.height > forest("k", "t", "d", [first], axis="fall", line=0.0).height
    assert marks(taller, "series-1") == 2
    assert "fill: var(--paper); stroke: var(--series-1)" in taller.inline


@pytest.mark.slow
def test_curves_have_their_names_bands_and_bars() -> None:
    x = np.linspace(0, 1, 11)
    lines = (
        Line("a", x, x**0.5, A, x**0.5 - 0.1, x**0.5 + 0.1),
        Line("", x, x, OTHER),
        Line("gaps", x, np.where(x > 0.5, x, NAN), REFERENCE, x, x, bars=True),
    )
    picture = square("k", "t", "d", lines, x="recall", y="precision", level=0.3, corner="below")
    assert {"recall", "precision", "a", "gaps"} <= set(texts(picture))
    assert "" not in texts(picture)
    assert "fill-opacity: 0.18" in picture.inline
    beside = square("k", "t", "d", lines, x="recall", y="precision", corner="lower right")
    assert picture.height > beside.height


def test_trends_name_their_ends() -> None:
    x = np.array([0.0, 0.5, 0.9])
    lines = [
        Trend("a", x, 1 - x / 10, A, runs=((x, x),)),
        Trend("", x, x, OTHER),
        Trend("short", x[:2], x[:2], REFERENCE),
    ]
    words = texts(trends("k", "t", "d", lines, x="cells missing", y="AUC", percent=True))
    assert {"a", "short", "0%", "cells missing", "AUC"} <= set(words)


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([], []),
        ([5], [5]),
        ([0, 100], [0, 100]),
        ([10, 10, 10], [10, 28, 46]),
        ([95, 99], [82, 100]),
        ([120], [100]),
    ],
)
def test_names_do_not_lie_on_each_other(heights: list[float], expected: list[float]) -> None:
    assert spread(heights, 18, 100) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 2000, [1, 100]),
        (0.9, 110, [1, 10, 100]),
        (2.8, 3.8, [3, 3.5]),
        (200, 900, [250, 500]),
        (2.8e6, 1.1e7, [5e6, 1e7]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_scatter_names_what_stands_in_front() -> None:
    dots = [Dot("concat", 3e6, 0.9, 0.88, 0.92, REFERENCE), Dot("", 6e6, 0.8, 0.78, 0.82, OTHER)]
    words = texts(scatter("k", "t", "d", dots, x="parameters", y="AUC"))
    assert {"concat", "parameters", "AUC"} <= set(words)
    only = texts(scatter("k", "t", "d", dots[:1], x="parameters", y="AUC"))
    assert any(word.endswith("M") for word in only)


def test_a_matrix_has_a_number_a_cell_and_grows_with_the_classes() -> None:
    shares = np.array([[0.75, 0.25], [NAN, NAN]])
    picture = matrix("k", "t", "d", shares, ["<b>", "empty"])
    words = texts(picture)
    assert words.count("75") == words.count("25") == 1
    assert words.count("\u2013") == 2
    assert {"1 <b>", "2 empty"} <= set(words)
    assert picture.width == WIDTH
    assert matrix("k", "t", "d", np.eye(8), list("abcdefgh")).width > WIDTH


def test_shades_darken_evenly() -> None:
    grey = [
        sum(int(shade(s)[i : i + 2], 16) * w for i, w in ((1, 0.2126), (3, 0.7152), (5, 0.0722)))
        for s in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert all(a - b > 25 for a, b in itertools.pairwise(grey))


def test_the_mean_of_runs_that_ended_at_different_epochs() -> None:
    runs = ((np.array([1.0, 2, 3]), np.array([NAN, 0.5, 0.7])), (np.array([1.0, 2]), np.array([NAN, 0.7])))
    x, y = mean(runs)
    np.testing.assert_array_equal(x, [1, 2, 3])
    np.testing.assert_allclose(y, [NAN, 0.6, 0.7])
