import numpy as np
import pytest

from mmfusion.data.schema.numerals import (
    Notation,
    find_notation,
    has_several_numbers,
    is_ratio,
    read_numbers,
    read_ratios,
)


@pytest.mark.parametrize(
    ("text", "value", "bound"),
    [
        ("<0.5", 0.5, -1),
        ("< 0.5", 0.5, -1),
        ("<=0.5", 0.5, -1),
        ("\u22640.5", 0.5, -1),
        ("less than 0.5", 0.5, -1),
        (">100", 100, 1),
        ("\u2265 1,000", 1000, 1),
        ("over 90", 90, 1),
        ("90+", 90, 1),
        ("<-3e-2", -0.03, -1),
        ("25 mg", 25, 0),
        ("25MG", 25, 0),
        ("<25 mg", 25, -1),
        ("1 234.5", 1234.5, 0),
        ("1'234'567", 1234567, 0),
        ("1,234,567.8 mg", 1234567.8, 0),
        ("\u22125", -5, 0),
        (".5", 0.5, 0),
    ],
)
def test_handwritten_number_formats(text, value, bound):
    values, bounds = read_numbers([text], Notation(suffix="mg"))
    assert (values.tolist(), bounds.tolist()) == ([value], [bound])


@pytest.mark.parametrize(
    "text",
    [
        "25 g",
        "120/80",
        "10-20",
        "#DIV/0!",
        "abc",
        "<",
        "5 - 6",
        "1 23",
        "31.12.2020",
        "~5",
        "<x",
        "mg",
        "5 6 mg",
        "<>5",
    ],
)
def test_non_numbers_are_nan(text):
    values, bounds = read_numbers([text], Notation(suffix="mg"))
    assert np.isnan(values).tolist() == [True]
    assert bounds.tolist() == [0]


@pytest.mark.parametrize(
    ("item", "other"), [("mg", "MG"), ("year", "years"), ("\u00b5l", "\u03bcl"), ("mm Hg", "mmHg"), ("mm", "mm.")]
)
def test_unit_spellings_are_equal(item, other):
    assert read_numbers([f"5 {other}"], Notation(suffix=item))[0].tolist() == [5]
    assert find_notation([f"5 {item}", f"6 {other}", "7 lb"], [1, 1, 1]).suffix in (item, other)


@pytest.mark.parametrize(
    ("result", "plain", "expected"),
    [
        (["25 mg", "30mg", "0.1 g"], [], Notation(suffix="mg")),
        (["25 mg", "0.1 g"], ["3"], Notation()),  # neither is the column's
        (["25 mg"], ["3", "4"], Notation(suffix="mg")),
        (["<0,5", "1,25"], [], Notation(",")),
        (["1,234"], ["12.5"], Notation()),
        (["1,234"], ["850", "12"], Notation()),
        (["1,234"], ["8", "12"], Notation(",")),
        (["0,234"], ["850"], Notation(",")),
        (["1,5"], ["2.5"], Notation(",")),
        (["1,5"], ["2.500"], Notation(",", ".")),
        (["1.234.567"], [], Notation(",", ".")),
        (["5.5 kg/m2", "x10"], [], Notation(suffix="kg/m2")),
        (["5 Okonkwo"], ["3", "4"], Notation()),  # a stray word, which no schema may keep
        (["5 widgets", "6 widgets", "7 widgets", "8 widgets", "9 widgets"], [], Notation(suffix="widgets")),
        (["a, b", "c"], ["1.5"], Notation()),
    ],
)
def test_notation_is_inferred(result, plain, expected):
    assert find_notation(result, [1] * len(result), plain) == expected


def test_several_numbers_in_a_cell_are_detected():
    several = ["50.1±0.3", "50.1 +/- 0.3", "45 (22%)", "12 mg (0.5)", "5-10 years", "1,5\u20132", "12 to 15 mm"]
    assert [text for text in several if not has_several_numbers(text)] == []
    one = ["-5", "1e-5", "50.1", "3 days", "120/80", "555-49", "2020-01-22", "12:30", "T2N1", "10-", "", "5 (left)"]
    assert [text for text in one if has_several_numbers(text)] == []


def test_ratios_are_parsed():
    result = ["120/80", "120 / 80 mmHg", "20/x", "1,5/2", "1/2/2020", "5"]
    assert [is_ratio(text) for text in result] == [True, True, False, True, False, False]
    assert read_ratios(result[:2], Notation(), 1).tolist() == [120, 120]
    assert read_ratios(result[:2], Notation(), 2).tolist() == [80, 80]
    assert read_ratios(["1,5/2"], Notation(","), 1).tolist() == [1.5]
    assert np.isnan(read_ratios(["5", "20/x"], Notation(), 2)).all()


@pytest.mark.parametrize(
    "unit",
    [
        "mg/dl",
        "mmol/L",
        "\u00b5g/ml",
        "U/l",
        "mmHg",
        "%",
        "kg",
        "years",
        "days",
        "x10^9/l",
        "cm\u00b2",
        "bpm",
        "y",
        "kg/m2",
    ],
)
def test_known_unit_may_be_rare(unit):
    assert find_notation([f"5 {unit}"], [1], ["3", "4"]).suffix == unit
