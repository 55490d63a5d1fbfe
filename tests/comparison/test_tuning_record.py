from typing import Any

import pytest

from mmfusion.comparison.tuning_record import beyond


@pytest.mark.parametrize(
    ("tried", "value", "where"),
    [
        ([1e-3, 2e-3, 3e-3], 3e-3, "largest"),
        ([1e-3, 2e-3, 3e-3], 1e-3, "smallest"),
        ([1e-3, 2e-3, 3e-3], 2e-3, None),
        ([8, 16, 64], 64, "largest"),
        (["mean", "max"], "max", None),
        ([False, True], True, None),
        ([0.1, 0.1], 0.1, None),
    ],
)
def test_optimum_on_border_is_reported(tried: list[Any], value: Any, where: str | None) -> None:
    assert beyond(tried, value) == where
