import math

import pytest

from mmfusion.comparison.report import formatting

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (formatting.number(0.93649), "0.936"),
        (formatting.number(-0.5, 2), "\u22120.50"),
        (formatting.number(NAN), "\u2013"),
        (formatting.signed(0.0121), "+0.012"),
        (formatting.signed(-0.0121), "\u22120.012"),
        (formatting.signed(-0.0001), "0.000"),
        (formatting.signed(NAN), "\u2013"),
        (formatting.interval(0.9, 0.88, 0.92), "0.900 (0.880 to 0.920)"),
        (formatting.interval(0.9, NAN, 0.92), "0.900"),
        (formatting.interval(-0.1, -0.2, 0.05, sign=True), "\u22120.100 (\u22120.200 to +0.050)"),
        (formatting.p_value(0.0009), "< 0.001"),
        (formatting.p_value(0.0211), "0.021"),
        (formatting.p_value(NAN), "\u2013"),
        (formatting.p_phrase(0.0001), "p < 0.001"),
        (formatting.p_phrase(0.5), "p = 0.500"),
        (formatting.count(4787.0), "4,787"),
        (formatting.count(NAN), "\u2013"),
        (formatting.amount(3_050_000), "3.05 M"),
        (formatting.amount(2.38e8), "238 M"),
        (formatting.amount(17.25), "17.2"),
        (formatting.amount(NAN), "\u2013"),
        (formatting.plural(1, "seed"), "1 seed"),
        (formatting.plural(2, "class", "classes"), "2 classes"),
        (formatting.plural(1200, "case"), "1,200 cases"),
        (formatting.listed([]), ""),
        (formatting.listed(["a"]), "a"),
        (formatting.listed(["a", "b", "c"]), "a, b and c"),
        (formatting.listed("abcdefgh", most=4), "a, b, c and 5 more"),
        (formatting.metric("auc"), "AUC"),
        (formatting.metric("accuracy_mel"), "accuracy of mel"),
        (formatting.metric("gap_closed"), "gap closed"),
        (formatting.setting({"a": True, "b": None}), "a=true, b=none"),
        (formatting.setting([1, 2.5]), "1, 2.5"),
        (formatting.setting({}), "none"),
    ],
)
def test_formatted_numbers(text: str, expected: str) -> None:
    assert text == expected
