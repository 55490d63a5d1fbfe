import numpy as np
import pytest
from scipy import stats

from mmfusion.metrics.several_datasets import critical_difference, ranks_within, signed_rank


def test_ties_share_ranks() -> None:
    scores = [[0.9, 0.8, 0.8, 0.7], [0.5, 0.6, 0.7, 0.7]]
    assert ranks_within(scores).tolist() == [[1, 2.5, 2.5, 4], [4, 3, 1.5, 1.5]]
    assert ranks_within(scores, lower_is_better=True).tolist() == [[4, 2.5, 2.5, 1], [1, 2, 3.5, 3.5]]


@pytest.mark.parametrize(
    ("n_methods", "n_datasets", "expected"),
    # Demsar 2006, section 3.2.2: q = 2.569 for four classifiers, on 14 datasets; and table 5a's q for two and ten.
    [(4, 14, 2.569 * np.sqrt(20 / 84)), (2, 6, 1.960 * np.sqrt(6 / 36)), (10, 20, 3.164 * np.sqrt(110 / 120))],
)
def test_critical_difference_matches_published(n_methods: int, n_datasets: int, expected: float) -> None:
    assert critical_difference(n_methods, n_datasets) == pytest.approx(expected, abs=2e-3)


def test_signed_rank_of_one_dataset_matches_closed_form() -> None:
    """The prior's observation has a weight of Beta(1/2, 1): it decides where its square is above one half."""
    found = signed_rank([0.3], 0.01, n_samples=200_000)
    of_prior = 1 - stats.beta(0.5, 1).cdf(np.sqrt(0.5))
    assert found.equal == pytest.approx(of_prior, abs=0.003)
    assert (found.worse, found.better) == (0.0, pytest.approx(1 - of_prior, abs=0.003))


def test_signed_rank_probabilities_by_sign() -> None:
    differences = np.array([0.02, -0.004, 0.05, 0.03, 0.001, 0.04])
    found, opposite = signed_rank(differences, 0.01), signed_rank(-differences, 0.01)
    assert sum(found) == pytest.approx(1)
    assert found.better > 0.8
    np.testing.assert_allclose(found, opposite[::-1], atol=0.01)
    np.testing.assert_allclose(found, signed_rank(differences[::-1], 0.01), atol=0.01)
    assert signed_rank(differences, 1.0).equal == 1.0
    assert signed_rank(np.zeros(4), 0.0).equal == 1.0


def test_invalid_inputs_raise() -> None:
    with pytest.raises(ValueError, match=r"ranks_within expects finite numbers of 2 dimensions, got 1: \[0\.5\]"):
        ranks_within([0.5])
    with pytest.raises(ValueError, match="finite numbers"):
        signed_rank([0.1, np.nan], 0.01)
    for differences, margin in (([], 0.01), ([0.1], -0.1), ([0.1], np.inf)):
        with pytest.raises(ValueError, match="expects differences and a margin of at least 0"):
            signed_rank(differences, margin)
    for n_methods, n_datasets in ((1, 3), (3, 0)):
        with pytest.raises(ValueError, match="expects 2 methods and a dataset"):
            critical_difference(n_methods, n_datasets)
