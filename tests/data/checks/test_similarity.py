from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmfusion.data.checks.similarity import SIDE, perceptual_hash, similar_pairs


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Smooth random images with some detail, shape (n, SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    coarse = [Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8)) for _ in range(n)]
    return np.stack([np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in coarse])


def compressed(image: np.ndarray) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


def shrunk(image: np.ndarray) -> np.ndarray:
    half = Image.fromarray(image).resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC)
    return np.asarray(half.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


COPIES = {
    "same": lambda image: image,
    "compressed": compressed,
    "shrunk": shrunk,
    "brighter": lambda image: (image * 0.7 + 60).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1],
    "rotated": lambda image: np.rot90(image),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("n", [3, 30])
def test_only_the_copy_is_found(how: str, n: int) -> None:
    images = pictures(n)
    images[-1] = COPIES[how](images[1])
    (pair,) = similar_pairs(images)
    assert (pair.first, pair.second) == (1, n - 1)
    assert pair.turned == (how in ("mirrored", "rotated"))
    assert pair.correlation > 0.5
    assert similar_pairs(images, turns=False) == ([] if pair.turned else [pair])


@pytest.mark.slow
def test_shared_border_makes_no_pair() -> None:
    """A scanner's frame around small lesions."""
    images = np.full((40, SIDE, SIDE), 20, dtype=np.uint8)
    images[:, :4] = images[:, -4:] = images[:, :, 30:33] = 255
    images[:, 24:40, 8:24] = pictures(40)[:, 24:40, 8:24]
    assert similar_pairs(images) == []
    images[5] = compressed(images[9])
    assert [(pair.first, pair.second) for pair in similar_pairs(images)] == [(5, 9)]


def test_constant_images_make_no_pair() -> None:
    assert similar_pairs(np.zeros((4, SIDE, SIDE), dtype=np.uint8)) == []
    assert similar_pairs(pictures(1)) == []
    assert similar_pairs(np.zeros((0, SIDE, SIDE), dtype=np.uint8)) == []


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-20, 20))
def test_the_hash_ignores_brightness(seed: int, shift: int) -> None:
    image = pictures(1, seed) // 2 + 40
    shifted = (image.astype(int) + shift).astype(np.uint8)
    assert np.bitwise_count(perceptual_hash(image) ^ perceptual_hash(shifted)).max() <= 2
