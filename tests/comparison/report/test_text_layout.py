import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.comparison.report.text_layout import text_width, wrap

pytest.importorskip("matplotlib")


def test_widths_add_up_and_bold_is_wider() -> None:
    assert text_width("mm") == pytest.approx(2 * text_width("m"), rel=0.05)
    assert text_width("cfcml", bold=True) > text_width("cfcml")
    assert text_width("") == 0
    # Full-width letters are as wide as they are high.
    assert text_width("\u9ed2\u8272") == pytest.approx(30, abs=1)


def test_lines_break_after_punctuation_and_spaces() -> None:
    assert wrap("cfcml: no-crossmodal-anchor", 150) == ["cfcml: no-", "crossmodal-anchor"]
    assert wrap("concat", 400) == ["concat"]
    assert wrap("", 400) == [""]
    assert wrap("a\x00b", 400) == ["a\ufffdb"]


def test_long_word_is_broken_anywhere() -> None:
    lines = wrap("x" * 40, 100)
    assert "".join(lines) == "x" * 40
    assert len(lines) > 2


@pytest.mark.slow
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=40), st.floats(30, 300))
def test_wrapped_lines_fit_and_keep_text(text: str, width: float) -> None:
    lines = wrap(text, width)
    assert "".join(lines) == text
    assert all(len(line) == 1 or text_width(line) <= width for line in lines if line)
