import pytest
import torch

from mmfusion.experiments.explaining import regions


def test_regions_are_numbered_without_gaps() -> None:
    numbers, what = regions.regions_of(torch.rand(3, 16, 12), 5)
    assert numbers.shape == (16, 12)
    assert numbers.unique().tolist() == list(range(int(numbers.max()) + 1))
    assert what == "superpixels, SLIC"


def test_volumes_and_images_without_scikit_image_get_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, what = regions.regions_of(torch.rand(1, 8, 8, 1), 12)
    assert what == "boxes"
    assert int(numbers.max()) == 3  # an axis of one voxel is not divided

    def absent(*_: object) -> None:
        raise ImportError("no")

    monkeypatch.setattr(regions, "superpixels", absent)
    numbers, what = regions.regions_of(torch.rand(1, 8, 8), 9)
    assert int(numbers.max()) == 8
    assert "scikit-image is not installed" in what


def test_larger_images_are_tried_less_and_fewer_at_once() -> None:
    sizes = [64 * 64, 224 * 224, 128 * 128 * 24]
    assert [regions.batch_size(n) for n in sizes] == [256, 20, 2]
    assert [regions.n_orders(n) for n in sizes] == [32, 16, 8]
    assert [regions.n_measured(n) for n in sizes] == [16, 8, 4]
    assert [regions.n_references(n, 128) for n in sizes] == [128, 128, 32]
    assert [regions.n_embedded(n) for n in sizes] == [1000, 1000, 170]
    assert [regions.n_in_cohort(n, 48, apart=False) for n in sizes] == [48, 16, 8]
    assert [regions.n_in_cohort(n, 48, apart=True) for n in sizes] == [48, 48, 48]
    assert regions.batch_size(0) == 256
