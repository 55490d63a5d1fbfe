import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mmfusion.comparison.report.canvas import WIDE, WIDTH, Picture
from mmfusion.comparison.report.chapters.learning_curves import mean
from mmfusion.comparison.report.curve_plot import Line, square
from mmfusion.comparison.report.drawing import spread
from mmfusion.comparison.report.forest_plot import Mark, Row, axis_ends, forest
from mmfusion.comparison.report.line_plot import Trend, trends
from mmfusion.comparison.report.matrix_plot import ink_on, matrix, shade
from mmfusion.comparison.report.palette import OTHER, REFERENCE, styles
from mmfusion.comparison.report.scatter_plot import Dot, scatter, ticks

pytest.importorskip("matplotlib")
NAN = float("nan")
A = styles(["a"], None)["a"]


def texts(picture: Picture, *, phone: bool = False) -> list[str]:
    source = picture.phone if phone else picture.inline
    return [element.text or "" for element in ElementTree.fromstring(source).iter("text")]


def marks(picture: Picture, colour: str) -> int:
    """Markers with that edge."""
    uses = ElementTree.fromstring(picture.inline).iter("use")
    return sum(f"stroke: var(--{colour})" in element.attrib.get("style", "") for element in uses)


def test_forest_has_every_row_point_and_number() -> None:
    long = "2 a very long name of a method[that_has_options=5.0, and=many]"
    rows = (
        Row("1 concat", "0.90", (Mark(0.9, 0.88, 0.92, (0.89, 0.91), REFERENCE),), bold=True, note="embeddings"),
        Row(long, "0.85", (Mark(0.85, NAN, NAN, (0.85,), A),)),
        Row("3 nothing", "\u2013", (Mark(NAN, NAN, NAN, (), OTHER),)),
    )
    picture = forest("k", "t", "d", rows, axis="AUC", line=0.9)
    assert picture.width == WIDE
    assert "embeddings" in texts(picture)
    for words in (texts(picture), texts(picture, phone=True)):
        assert {"1 concat", "0.90", "0.85", "3 nothing", "AUC"} <= set(words)
        # In several lines, but whole.
        assert long.replace(" ", "") in "".join(words).replace(" ", "")
    assert "nan" not in picture.inline.lower()
    # Two runs and the mean of the reference; of one run the mean says it all.
    assert (marks(picture, "ink"), marks(picture, "series-1")) == (3, 1)


def test_bars_start_at_zero_and_have_their_interval() -> None:
    bar = Mark(-2.0, -2.5, -1.5, (), A, bar=True)
    rows = [Row("down", "", (bar,)), Row("exact", "", (Mark(1.0, NAN, NAN, (), A, bar=True),))]
    low, high = axis_ends(rows, 0.0, None)
    assert low < -2.5
    assert high > 1
    picture = forest("k", "t", "d", rows, axis="log odds", line=0.0)
    paths = [x.attrib.get("style", "") for x in ElementTree.fromstring(picture.inline).iter("path")]
    assert sum("stroke-width: 11" in style for style in paths) == 2
    assert sum("stroke: var(--ink); stroke-width: 1.4" in style for style in paths) == 1
    assert marks(picture, "series-1") == 0


@pytest.mark.slow
def test_distant_row_is_at_edge_with_its_value() -> None:
    near = [Row(f"m{i}", "", (Mark(0.90 + 0.01 * i, 0.88, 0.94, (), OTHER),)) for i in range(4)]
    far = Row("tabular", "0.61 (0.57 to 0.65)", (Mark(0.61, 0.57, 0.65, (0.6, 0.62), A),))
    # 3 times the median half-width, 0.03, is more than twice the median distance, 0.01.
    low, high = axis_ends([*near, far], 0.9, 0.9)
    assert (low, high) == pytest.approx((0.88 - 0.06 * 0.06, 0.94 + 0.06 * 0.06))
    assert axis_ends([*near, far], 0.9, None)[0] < 0.57
    picture = forest("k", "t", "d", [*near, far], axis="AUC", line=0.9, about=0.9)
    for phone in (False, True):
        assert "0.610" in texts(picture, phone=phone)
    # The triangle alone: neither interval nor points.
    assert marks(picture, "series-1") == 1
    assert "0.900" not in texts(picture)


def test_labels_are_on_one_line() -> None:
    rows = [Row(label, "0.9", (Mark(0.9, 0.8, 1.0, (), A),), note="tokens") for label in ("tabular", "cfcml", "mbt")]
    assert {"tabular", "cfcml", "mbt"} <= set(texts(forest("k", "t", "d", rows, axis="AUC")))


def test_interval_beyond_axis_has_arrow() -> None:
    rows = [Row(f"m{i}", "", (Mark(0.9, 0.89, 0.91, (), OTHER),)) for i in range(4)]
    wide = Row("wide", "", (Mark(0.9, 0.1, 0.99, (), A),))
    low, high = axis_ends([*rows, wide], 0.9, 0.9)
    assert 0.83 < low < high < 0.97
    # The middle and two arrows.
    assert marks(forest("k", "t", "d", [*rows, wide], axis="AUC", about=0.9), "series-1") == 3


@pytest.mark.slow
def test_number_of_long_label_is_on_its_own_line_on_phone() -> None:
    number = "0.920 (0.900\u20130.938)"
    mark = Mark(0.92, 0.9, 0.938, (), A)
    long, brief = (Row(name, number, (mark,)) for name in ("4 cfcml: no-crossmodal-anchor", "4 cfcml"))
    places = {}
    for row in (long, brief):
        for element in ElementTree.fromstring(forest("k", "t", "d", [row], axis="AUC").phone).iter("text"):
            places[row.label, element.text] = float(element.get("y", "nan"))
    assert places[long.label, number] - places[long.label, long.label] == pytest.approx(19, abs=0.1)
    assert places[brief.label, number] == pytest.approx(places[brief.label, brief.label], abs=0.1)


@pytest.mark.slow
def test_two_intervals_of_a_row_are_stacked() -> None:
    row = Row("a", "", (Mark(0.1, 0.05, 0.15, (), A), Mark(0.2, 0.15, 0.25, (), A, hollow=True)))
    first = Row("a", "", row.marks[:1])
    taller = forest("k", "t", "d", [row], axis="fall", line=0.0)
    assert taller.height > forest("k", "t", "d", [first], axis="fall", line=0.0).height
    assert marks(taller, "series-1") == 2
    assert "fill: var(--paper); stroke: var(--series-1)" in taller.inline


@pytest.mark.slow
def test_curves_have_names_bands_and_counts() -> None:
    x = np.linspace(0, 1, 11)
    long = "cfcml[sample_weight=5.0]: no-crossmodal-anchor"
    lines = (
        Line(long, x, x**0.5, A, x**0.5 - 0.1, x**0.5 + 0.1),
        Line("", x, x, OTHER),
        Line("gaps", x, np.where(x > 0.5, x, NAN), REFERENCE, x, x, every=True),
    )
    picture = square("k", "t", "d", lines, x="recall", y="precision", level=0.3)
    assert {"recall", "precision", "gaps"} <= set(texts(picture))
    assert long.replace(" ", "") in "".join(texts(picture)).replace(" ", "")
    assert "" not in texts(picture)
    assert "fill-opacity: 0.18" in picture.inline
    counted = square("k", "t", "d", lines, x="recall", y="precision", counts=("cases", np.array([3.0, 0, 40])))
    assert {"cases", "recall", "1", "10"} <= set(texts(counted))
    assert counted.height > picture.height


@pytest.mark.slow
def test_trends_label_their_ends() -> None:
    x = np.array([0.0, 0.5, 0.9])
    lines = [
        Trend("a", x, 1 - x / 10, A, runs=((x, 1 - x / 10),)),
        Trend("grey", x, 0.9 - x / 10, OTHER),
        Trend("short", x[:2], 0.95 - x[:2] / 10, REFERENCE, 0.93 - x[:2] / 10, 0.97 - x[:2] / 10),
        Trend("far", x, np.array([0.6, 0.5, 0.4]), OTHER),
    ]
    picture = trends("k", "t", "d", lines, x="cells missing", y="AUC", percent=True, about=REFERENCE)
    assert {"a", "grey", "short", "far 0.400", "0%", "cells missing", "AUC"} <= set(texts(picture))
    on_phone = set(texts(picture, phone=True))
    assert {"a", "short", "grey"} <= on_phone
    several = [*lines, Trend("also grey", x, 0.88 - x / 10, OTHER)]
    key = texts(trends("k", "t", "d", several, x="cells missing", y="AUC", panel=True))
    assert "2 other methods" in key or "3 other methods" in key
    assert "grey" not in key
    at = trends("k", "t", "d", lines, x="cells missing", y="AUC", percent=True, at=[0, 0.1, 0.3, 0.5, 0.7, 0.9])
    assert {"0%", "10%", "30%", "90%"} <= set(texts(at))
    assert "10%" not in texts(at, phone=True)
    panel = trends("k", "t", "d", lines, x="cells missing", y="AUC", panel=True)
    assert (panel.width, panel.phone) == (WIDTH, "")


def test_single_epoch_has_one_tick() -> None:
    line = Trend("a", np.array([1.0]), np.array([0.7]), A)
    shown = texts(trends("k", "t", "d", [line], x="epoch", y="AUC", whole=True))
    assert shown.count("1") == 1
    assert not any(word.startswith(("1.0", "0.9")) for word in shown)


@pytest.mark.parametrize(
    ("middles", "expected"),
    [
        ([], []),
        ([5], [5]),
        ([20, 70], [20, 70]),
        ([10, 10, 10], [10, 28, 46]),
        ([95, 99], [73, 91]),
        ([120], [91]),
    ],
)
def test_labels_do_not_overlap(middles: list[float], expected: list[float]) -> None:
    assert spread(middles, [18] * len(middles), 100) == expected


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


def test_scatter_labels_front_and_outliers() -> None:
    dots = [Dot("concat", 3e6, 0.9, 0.88, 0.92, REFERENCE), Dot("grey", 6e6, 0.91, 0.89, 0.93, OTHER)]
    far = Dot("tabular", 1e5, 0.6, 0.58, 0.62, OTHER)
    picture = scatter("k", "t", "d", [*dots, far], x="parameters", y="AUC", about=0.9)
    assert {"concat", "parameters", "AUC", "tabular 0.600"} <= set(texts(picture))
    assert "grey" in texts(picture)
    assert "0.70" not in texts(picture)
    only = texts(scatter("k", "t", "d", dots[:1], x="parameters", y="AUC"))
    assert any(word.endswith("M") for word in only)


def test_matrix_has_one_number_per_cell() -> None:
    shares = np.array([[0.75, 0.25], [NAN, NAN]])
    picture = matrix("k", "t", "d", shares, ["<b>", "empty"])
    words = texts(picture)
    assert words.count("75") == words.count("25") == 1
    assert words.count("\u2013") == 2
    assert {"1 <b>", "2 empty"} <= set(words)
    assert picture.width == WIDTH
    assert matrix("k", "t", "d", np.eye(8), list("abcdefgh")).width > WIDTH
    long = "a class with a name that is much longer than any figure"
    whole = matrix("k", "t", "d", np.eye(2), [long, "b"])
    assert long in " ".join(texts(whole))
    assert whole.width == WIDTH


def test_shades_darken_evenly() -> None:
    grey = [
        sum(int(shade(s)[i : i + 2], 16) * w for i, w in ((1, 0.2126), (3, 0.7152), (5, 0.0722)))
        for s in (0, 0.25, 0.5, 0.75, 1)
    ]
    assert all(a - b > 25 for a, b in itertools.pairwise(grey))


def test_numbers_on_shades_have_contrast() -> None:
    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(c * weight for c, weight in zip(linear, (0.2126, 0.7152, 0.0722)))

    for percent in range(101):
        paper = shade(percent / 100)
        light, dark = sorted((luminance(paper), luminance(ink_on(paper))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, percent


def test_axis_steps_are_ones_twos_or_fives() -> None:
    rows = [Row("a", "", (Mark(0.934, 0.919, 0.946, (), A),)), Row("b", "", (Mark(0.955, 0.942, 0.965, (), A),))]
    shown = [float(word) for word in texts(forest("k", "t", "d", rows, axis="AUC")) if re.fullmatch(r"0\.\d+", word)]
    assert shown == [0.92, 0.93, 0.94, 0.95, 0.96]


def test_mean_of_runs_of_unequal_length() -> None:
    runs = ((np.array([1.0, 2, 3]), np.array([NAN, 0.5, 0.7])), (np.array([1.0, 2]), np.array([NAN, 0.7])))
    x, y = mean(runs)
    np.testing.assert_array_equal(x, [1, 2, 3])
    np.testing.assert_allclose(y, [NAN, 0.6, 0.7])
