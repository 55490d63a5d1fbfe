import torch
import torch.nn.functional as F

from mmfusion.data.images.likeness import BITS, Hashes, hashes, nearest


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.interpolate(torch.rand(n, 3, 6, 6, generator=generator), (40, 48), mode="bilinear")


def test_a_copy_in_another_size_and_brightness_is_near_and_others_are_far() -> None:
    images = pictures(8)
    copies = F.interpolate(images.flip(0), (60, 60), mode="bilinear") * 0.7 + 0.1
    at, bits = nearest(hashes(copies), hashes(images))
    assert at.tolist() == list(range(8))[::-1]
    assert bits.max() <= 12
    _, far = nearest(hashes(pictures(8, seed=1)), hashes(images))
    assert far.min() > 40
    _, same = nearest(hashes(images), hashes(images))
    assert same.tolist() == [0] * 8


def test_images_of_one_number_are_not_compared() -> None:
    own = hashes(pictures(3))
    at, bits = nearest(own, own, torch.tensor([0, 0, 1, 0, 0, 1]))
    assert at.tolist()[:2] == [2, 2]
    assert (bits > 40).all()
    assert nearest(own, own, torch.zeros(6, dtype=torch.int64))[1].tolist() == [BITS + 1] * 3


def test_volumes_and_images_of_one_value() -> None:
    volume = pictures(2)[..., None].expand(-1, -1, -1, -1, 5)
    torch.testing.assert_close(hashes(volume).thumbnails, hashes(pictures(2)).thumbnails)
    found: Hashes = hashes(torch.cat([torch.full((1, 3, 20, 20), 0.5), pictures(1)[..., :20, :20]]))
    assert found.flat.tolist() == [True, False]
