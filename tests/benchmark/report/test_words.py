import math

import pytest

from mmfusion.benchmark.report import words

NAN = math.nan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (words.number(0.93649), "0.936"),
        (words.number(-0.5, 2), "\u22120.50"),
        (words.number(NAN), "\u2013"),
        (words.signed(0.0121), "+0.012"),
        (words.signed(-0.0121), "\u22120.012"),
        (words.signed(-0.0001), "0.000"),
        (words.signed(NAN), "\u2013"),
        (words.interval(0.9, 0.88, 0.92), "0.900 (0.880 to 0.920)"),
        (words.interval(0.9, NAN, 0.92), "0.900"),
        (words.interval(-0.1, -0.2, 0.05, sign=True), "\u22120.100 (\u22120.200 to +0.050)"),
        (words.p_value(0.0009), "< 0.001"),
        (words.p_value(0.0211), "0.021"),
        (words.p_value(NAN), "\u2013"),
        (words.p_phrase(0.0001), "p < 0.001"),
        (words.p_phrase(0.5), "p = 0.500"),
        (words.count(4787.0), "4,787"),
        (words.count(NAN), "\u2013"),
        (words.amount(3_050_000), "3.05 M"),
        (words.amount(2.38e8), "238 M"),
        (words.amount(17.25), "17.2"),
        (words.amount(NAN), "\u2013"),
        (words.plural(1, "seed"), "1 seed"),
        (words.plural(2, "class", "classes"), "2 classes"),
        (words.plural(1200, "case"), "1,200 cases"),
        (words.listed([]), ""),
        (words.listed(["a"]), "a"),
        (words.listed(["a", "b", "c"]), "a, b and c"),
        (words.listed("abcdefgh", most=4), "a, b, c and 5 more"),
        (words.metric("auc"), "AUC"),
        (words.metric("accuracy_mel"), "accuracy of mel"),
        (words.metric("gap_closed"), "gap closed"),
        (words.setting({"a": True, "b": None}), "a=true, b=none"),
        (words.setting([1, 2.5]), "1, 2.5"),
        (words.setting({}), "none"),
    ],
)
def test_as_a_reader_sees_it(text: str, expected: str) -> None:
    assert text == expected
