from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.spec import Columns, Wording
from mmfusion.tokenizers.tabular.sentences import (
    Grid,
    category_sentences,
    grid,
    number_sentences,
    number_text,
    worded,
)

COLUMNS = Columns(("lesion_size",), (("sex", 2),), (Wording(unit="mm"), Wording(categories=("female", "male"))))


@pytest.mark.parametrize(
    ("wording", "n_values", "expected"),
    [
        (Wording(low=0, high=85, step=5), 256, Grid(0, 5, 18)),
        (Wording(low=3, high=5, step=0.5), 256, Grid(3, 0.5, 5)),
        (Wording(low=0, high=100, step=1), 26, Grid(0, 4, 26)),  # 101 values do not fit, every fourth does
        (Wording(low=0, high=101, step=1), 26, Grid(0, 5, 22)),  # the last lies beyond, nothing within is cut off
        (Wording(low=0, high=10), 11, Grid(0, 1, 11)),  # no step is known: as many as there may be
        (Wording(mean=10, std=2), 5, Grid(2, 4, 5)),  # no range either: four deviations
        (Wording(mean=10.3, std=1, step=1), 256, Grid(6, 1, 10)),  # in whole numbers
        (Wording(low=7, high=7, mean=7, step=1), 256, Grid(3, 1, 9)),  # the training rows have one value
        (Wording(low=0, high=8e-213, step=1), 256, Grid(0, 1, 2)),  # a range that is nothing beside the step
        (Wording(low=0, high=0.3, step=0.1), 256, Grid(0, 0.1, 4)),  # 0.3 / 0.1 is not 3 in floating point
    ],
)
def test_grid_values(wording: Wording, n_values: int, expected: Grid) -> None:
    found = grid(wording, n_values)
    assert found.n == expected.n
    assert (found.low, found.step) == pytest.approx((expected.low, expected.step))


@given(
    st.floats(-1e4, 1e4),
    st.floats(0.01, 1e4),
    st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 10.0]),
    st.integers(2, 300),
)
def test_grid_covers_range_with_distinct_values(low: float, span: float, step: float, n_values: int) -> None:
    wording = Wording(low=low, high=low + span, step=step)
    found = grid(wording, n_values)
    assert 1 < found.n <= n_values
    assert found.low + (found.n - 1) * found.step >= wording.high - 1e-5 * max(step, span)
    if not step:
        sentences = number_sentences("x", wording, found)
        assert len(set(sentences)) == found.n


@pytest.mark.parametrize(
    ("value", "step", "known", "text"),
    [
        (45.0, 1.0, True, "45"),
        (45.0, 5.0, True, "45"),
        (1.5, 0.5, True, "1.5"),
        (2.0, 0.5, True, "2"),
        (0.1 + 0.2, 0.1, True, "0.3"),
        (-0.0, 0.1, True, "0"),
        (100.0, 10.0, True, "100"),
        (1.25, 0.25, True, "1.25"),
        (12.3456, 0.33, False, "12.3"),
        (12.3456, 33.0, False, "12"),
        (0.012345, 0.0007, False, "0.0123"),
        (0.15, 0.1, False, "0.15"),  # with one decimal it would read as 0.05 does
    ],
)
def test_number_text(value: float, step: float, known: bool, text: str) -> None:
    assert number_text(value, step, known) == text


def test_default_sentences() -> None:
    size, sex = worded(COLUMNS)
    assert number_sentences("lesion_size", size, Grid(2, 1, 2)) == [
        "The lesion size is 2 mm",
        "The lesion size is 3 mm",
    ]
    assert category_sentences("sex", sex, 2) == ["The sex is female", "The sex is male"]
    assert category_sentences("sex", Wording(), 2) == ["The sex is category 0", "The sex is category 1"]


def test_custom_templates() -> None:
    size, sex = worded(COLUMNS, {"sex": "A {value} patient"})
    assert category_sentences("sex", sex, 2) == ["A female patient", "A male patient"]
    assert size == COLUMNS.wordings[0]
    assert worded(Columns(("age",)), {"age": "{name}: {value}"}) == (Wording("{name}: {value}"),)


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ({"sx": "{value}"}, r"templates are for the columns \('lesion_size', 'sex'\), got some for \['sx'\]"),
        ({"sex": "no value"}, "a template needs {value}"),
        ({"sex": "{value} {what}"}, "a template is a sentence with {value}"),
    ],
)
def test_invalid_templates_raise(templates: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        worded(COLUMNS, templates)
