import pytest

from mmfusion.comparison.report.table_width import ALWAYS, SCREENS, stacking

pytest.importorskip("matplotlib")


def test_narrow_table_is_never_stacked() -> None:
    assert stacking([("concat", "0.9")], ("method", "AUC"), 1) == 0


def test_wide_table_is_stacked_on_small_screens() -> None:
    number = "0.914 (0.888 to 0.934)"
    widths = [stacking([("concat", *[number] * n)], ("method", *"abcdefghij"[:n]), n) for n in range(1, 11)]
    assert widths == sorted(widths)
    assert set(widths) <= {0, *SCREENS, ALWAYS}
    assert (widths[0], widths[-1]) == (0, ALWAYS)


def test_text_wraps_and_numbers_do_not() -> None:
    row = ("concat", "a b c d e f g h " * 20)
    assert stacking([row], ("method", "text"), 0) <= SCREENS[0]
    assert stacking([row], ("method", "text"), 1) == ALWAYS


def test_text_narrows_before_table_stacks_on_every_screen() -> None:
    columns = ("method", "fuses", "verdict", "AUC", "difference to concat (tuned)", "p, Holm", "detectable")
    number = "+0.053 (\u22120.005 to +0.111)"
    row = ("logistic regression", "reference: table", "no worse than by the margin", number, number, "0.144", "0.091")
    assert stacking([(*row[:2], row[2] * 2, *row[3:])], columns, 4) <= SCREENS[-1]


def test_empty_table_has_headings() -> None:
    assert stacking([], ("method", "AUC"), 1) == 0
