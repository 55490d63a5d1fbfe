import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.testing import assert_close

from mmfusion.explain.map_similarity import rank_correlation, structural_similarity


@pytest.mark.parametrize("size", [(5, 7), (3, 4, 5)])
def test_rank_correlation_matches_scipy(size: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(0)
    first, second = (torch.randint(0, 6, (3, *size), generator=g).double() for _ in range(2))
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second)]
    assert_close(rank_correlation(first, second), torch.tensor(np.array(expected)))
    assert_close(rank_correlation(first, first**3), torch.ones(3).double())
    assert_close(rank_correlation(first, -first), -torch.ones(3).double())


def test_similarity_of_constant_maps() -> None:
    constant, other = torch.full((1, 3, 3), 0.2), torch.arange(9.0).view(1, 3, 3)
    assert rank_correlation(constant, torch.zeros(1, 3, 3)).item() == 1
    assert rank_correlation(constant, other).item() == 0
    assert structural_similarity(torch.zeros(1, 3, 3), torch.zeros(1, 3, 3)).item() == 1
    assert 0 <= structural_similarity(constant, other).item() < 1


def test_structural_similarity_matches_skimage() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    g = torch.Generator().manual_seed(0)
    for size in ((12, 9), (8, 9, 7)):
        first, second = (torch.rand((1, *size), generator=g).double() for _ in range(2))
        first, second = first / first.amax(), second / second.amax()
        # Without its correction of the variance by n / (n - 1), and without the border.
        _, local = metrics.structural_similarity(
            first[0].numpy(), second[0].numpy(), win_size=7, data_range=1.0, use_sample_covariance=False, full=True
        )
        expected = local[tuple(slice(3, n - 3) for n in size)].mean()
        assert structural_similarity(3 * first, second).item() == pytest.approx(expected, abs=1e-9)
        assert structural_similarity(first, first).item() == pytest.approx(1)
