from typing import Annotated

import pytest

from mmfusion.option_checks import search_ranges
from mmfusion.options import Among, Count, Dropout, LogUniform, Uniform


def test_values_at_quantiles() -> None:
    rate, share, count = LogUniform(1e-4, 1e-2), Uniform(0, 0.7), Among(8, 16, 32, 64)
    assert [rate.at(u) for u in (0, 0.5, 0.75, 1)] == [1e-4, 1e-3, 0.00316, 1e-2]
    assert [share.at(u) for u in (0, 0.5, 0.123456, 1)] == [0, 0.35, 0.0864, 0.7]
    assert [count.at(u) for u in (0, 0.24, 0.25, 0.99, 1)] == [8, 8, 16, 64, 64]
    assert str(rate) == "0.0001 to 0.01, logarithmic"
    assert [str(kind) for kind in (share, count, Among(False, True))] == [
        "0 to 0.7",
        "8, 16, 32 or 64",
        "false or true",
    ]


def test_rounding_stays_in_the_range() -> None:
    assert LogUniform(1.2345e-3, 1).at(0) == 1.2345e-3
    assert Uniform(0, 0.12345).at(1) == 0.123


def test_empty_range_raises() -> None:
    for kind, low, high in ((LogUniform, 0, 1), (LogUniform, 2, 1), (Uniform, 1, 1)):
        with pytest.raises(ValueError, match=r"expects .*low < high, got"):
            kind(low, high)
    with pytest.raises(ValueError, match="at least two values, got 1"):
        Among(3)


def test_ranges_are_declared_in_annotations() -> None:
    def builder(
        *,
        n: Annotated[Count, Among(1, 2)] = 1,
        rank: Annotated[Count, Among(1, 4)] | None = None,
        dim: int = 3,
        p: Annotated[Dropout, Uniform(0, 0.5)] = 0.1,
        bare=None,  # type: ignore[no-untyped-def]  # an option without a type is what is tested
    ) -> None: ...

    assert search_ranges(builder) == {"n": Among(1, 2), "rank": Among(1, 4), "p": Uniform(0, 0.5)}
