import numpy as np
import pytest

from mmfusion.metrics.ranks import rank_intervals, rank_text


def test_only_significant_differences_separate_ranks() -> None:
    """a is significantly better than c and not than b; all comparisons of b with c are open."""
    better = np.array([[0, 1, 1], [-1, 0, 1], [-1, -1, 0]])
    p = np.array([[np.nan, 0.3, 0.001], [0.3, np.nan, 0.2], [0.001, 0.2, np.nan]])
    assert rank_intervals(better, p) == [(1, 2), (1, 3), (2, 3)]


def test_rank_intervals_are_corrected_for_multiplicity() -> None:
    better, p = np.sign(np.arange(4)[None] - np.arange(4)[:, None]), np.full((4, 4), 0.02)
    # Three pairs each: 0.02 * 3 is above 0.05.
    assert rank_intervals(better, p) == [(1, 4)] * 4
    assert rank_intervals(better, p / 2) == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_untested_pairs_do_not_separate() -> None:
    nothing = np.full((3, 3), np.nan)
    assert rank_intervals(np.ones((3, 3)), nothing) == [(1, 3)] * 3
    assert rank_intervals(np.ones((1, 1)), nothing[:1, :1]) == [(1, 1)]


def test_rank_text_values() -> None:
    assert rank_text((2, 2)) == "2"
    assert rank_text((1, 4)) == "1 to 4"


def test_mismatched_shapes_raise() -> None:
    with pytest.raises(ValueError, match="two matrices"):
        rank_intervals(np.ones((2, 3)), np.ones((2, 3)))
