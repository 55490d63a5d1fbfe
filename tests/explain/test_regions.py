import pytest
import torch
from torch.testing import assert_close

from mmfusion.explain import grid_regions, superpixels, without_content


def test_grid_regions_are_numbered_in_order() -> None:
    assert grid_regions((2, 5), (1, 2)).tolist() == [[0, 0, 0, 1, 1]] * 2
    regions = grid_regions((4, 4, 2), 2)
    assert regions[0, 0].tolist() == [0, 1]
    assert regions.unique().tolist() == list(range(8))
    assert regions[3, 3, 1] == 7
    with pytest.raises(ValueError, match="boxes"):
        grid_regions((4, 4), 5)


def test_baselines_keep_mean() -> None:
    x = torch.rand(2, 3, 16, 12)
    assert_close(without_content(x, "mean").mean((2, 3)), x.mean((2, 3)))
    assert not without_content(x, "zero").any()
    assert torch.equal(without_content(x, torch.ones(3, 1, 1)), torch.ones_like(x))
    with pytest.raises(ValueError, match=r"broadcasts to that of the images, \(2, 3, 16, 12\), got \(4, 1, 1\)"):
        without_content(x, torch.ones(4, 1, 1))
    with pytest.raises(ValueError, match="expects one of blur, mean, zero"):
        without_content(x, "black")
    flat = torch.full((1, 1, 8, 8, 4), 0.3)
    assert_close(without_content(flat, "blur"), flat)
    blurred = without_content(x, "blur")
    assert blurred.shape == x.shape
    assert (blurred.std((2, 3)) < 0.6 * x.std((2, 3))).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(16, 16), (8, 8, 4)])
def test_superpixels_follow_an_edge(size: tuple[int, ...]) -> None:
    pytest.importorskip("skimage")
    with pytest.raises(ValueError, match="n expects int of at least 1"):
        superpixels(torch.zeros(1, *size), 0)
    image = torch.zeros(1, *size)
    image[:, : size[0] // 4] = 1
    regions = superpixels(image, 8)
    assert regions.shape == size
    assert regions.min() == 0
    bright, dark = regions[: size[0] // 4].unique(), regions[size[0] // 4 :].unique()
    assert not set(bright.tolist()) & set(dark.tolist())
