import io
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from mmfusion.comparison.report import canvas
from mmfusion.comparison.report.canvas import FONT, WIDTH, Picture, picture, png
from mmfusion.comparison.report.palette import INK, SERIES

pytest.importorskip("matplotlib")
HOSTILE = '<script>alert("1")</script> id="x" $y$ & \x07'


def paint(figure: Any) -> None:
    axes = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    axes.plot([0, 1], [0, 1], color=SERIES[0], marker="o")
    axes.text(0.1, 0.5, canvas.clean(HOSTILE), color=INK)
    axes.set_xlabel("x")


def drawn() -> Picture:
    return picture("c1-one", "A <title>", 'It says "so" & more', paint, height=300)


@pytest.fixture(scope="module")
def one() -> Picture:
    return drawn()


def test_drawing_is_deterministic(one: Picture) -> None:
    assert drawn() == one


@pytest.mark.slow
def test_a_picture_as_png_is_twice_as_large_and_on_white(one: Picture) -> None:
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png(one)))
    assert image.size == (2 * WIDTH, 600)
    assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert png(drawn()) == png(one)
    with pytest.raises(ValueError, match="nothing draws c1-one"):
        png(replace(one, paint=None))


def test_picture_has_role_and_description(one: Picture) -> None:
    root = ElementTree.fromstring(one.inline)
    assert root.tag == "svg"
    assert root.attrib["role"] == "img"
    assert root.attrib["viewBox"] == f"0 0 {WIDTH} 300"
    title, description = (root.find(name) for name in ("title", "desc"))
    assert title is not None
    assert description is not None
    assert (title.text, description.text) == ("A <title>", 'It says "so" & more')
    assert root.attrib["aria-labelledby"].split() == [title.attrib["id"], description.attrib["id"]]


def test_ids_are_prefixed(one: Picture) -> None:
    root = ElementTree.fromstring(one.inline)
    rows = {element.attrib["id"] for element in root.iter() if "id" in element.attrib}
    used = {result for text in re.findall(r"#([\w-]+)", one.inline) for result in [text] if text.startswith("c1-")}
    assert all(name.startswith("c1-one-") for name in rows)
    assert used <= rows
    assert rows - used == {"c1-one-title", "c1-one-desc"}


def test_picture_is_self_contained(one: Picture) -> None:
    for text in (one.inline, one.file.replace('xmlns="http://www.w3.org/2000/svg"', "")):
        assert "http" not in text
        assert "<style" not in text
        assert "<metadata" not in text
        assert "DOCTYPE" not in text


def test_hostile_text_is_escaped(one: Picture) -> None:
    root = ElementTree.fromstring(one.inline)
    words = [element.text for element in root.iter("text")]
    assert HOSTILE.replace("\x07", "\ufffd") in words
    assert root.find(".//script") is None


def test_text_has_one_size_and_page_font(one: Picture) -> None:
    styles = [element.attrib["style"] for element in ElementTree.fromstring(one.inline).iter("text")]
    assert styles
    assert all(f"font-size: {FONT}px" in style for style in styles)
    assert all("font-family" not in style for style in styles)


def test_colors_are_variables_inline_and_fixed_in_file(one: Picture) -> None:
    assert "stroke: var(--series-1)" in one.inline
    assert SERIES[0] not in one.inline
    assert INK not in one.inline
    assert f"stroke: {SERIES[0]}" in one.file
    assert "var(" not in one.file


def test_file_is_self_contained_on_white(one: Picture) -> None:
    root = ElementTree.fromstring(one.file)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.attrib["width"], root.attrib["height"]) == (str(WIDTH), "300")
    assert [element.tag.partition("}")[2] for element in root][:3] == ["title", "desc", "rect"]


def test_missing_glyphs_give_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    result = picture("k", "t", "d", lambda figure: figure.text(0.5, 0.5, "黒色腫"), height=50)
    assert "黒色腫" in result.inline
    assert not recwarn.list
