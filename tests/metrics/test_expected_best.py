import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.metrics.expected_best import expected_best


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.booleans())
def test_matches_mean_over_all_draws(scores: list[float], lower: bool) -> None:
    best = min if lower else max
    by_hand = [np.mean([best(draw) for draw in itertools.product(scores, repeat=n)]) for n in range(1, len(scores) + 1)]
    np.testing.assert_allclose(expected_best(scores, lower_is_better=lower), by_hand, atol=1e-12)


def test_one_trial_equals_mean() -> None:
    assert expected_best([0.5, 0.9])[0] == pytest.approx(0.7)
    assert expected_best([0.5, 0.9])[1] == pytest.approx(0.25 * 0.5 + 0.75 * 0.9)


@pytest.mark.parametrize("scores", [[], [0.5, float("nan")], [float("inf")]])
def test_missing_or_nonfinite_scores_raise(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="expects at least one score, all of them finite"):
        expected_best(scores)
