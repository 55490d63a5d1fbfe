import math

import numpy as np
import pytest
import torch

from mmfusion.data.transforms.geometry import Geometry, Strengths, erased, warp
from mmfusion.data.transforms.random_streams import Streams

REST = {"flips": None, "plane": (-2, -1)} | dict.fromkeys(
    ("rotate", "scale", "translate", "shear", "crop", "aspect"), 0.0
)


def drawn(n: int = 1, **given: list) -> Geometry:
    numbers = {
        "flip": torch.zeros(n, 3, dtype=torch.bool),
        "angle": torch.zeros(n),
        "zoom": torch.ones(n),
        "shift": torch.zeros(n, 3),
        "slant": torch.zeros(n),
        "stretch": torch.zeros(n),
        "kept": torch.ones(n),
        "place": torch.zeros(n, 3),
    }
    return Geometry(**{**numbers, **{name: torch.tensor(value) for name, value in given.items()}})


def moved(image: torch.Tensor, setting: str, *, flips: bool = False, plane=(-2, -1), **given: list) -> torch.Tensor:
    strengths = Strengths(**{**REST, setting: 1.0, "plane": plane})
    return warp(image, drawn(len(image), **given), strengths, flips=flips, padding="zeros")


def dot(shape: tuple[int, ...], *place: int) -> torch.Tensor:
    image = torch.zeros(1, 1, *shape)
    image[(0, 0, *place)] = 1
    return image


def where(image: torch.Tensor) -> tuple[int, ...]:
    """Where the largest value is, which is that of the whole dot."""
    assert image.max() > 0.99
    return tuple(int(axis) for axis in np.unravel_index(int(image[0, 0].argmax()), image.shape[2:]))


# The middle of 9 x 15 is (4, 7), that of 5 x 9 x 15 is (2, 4, 7). By hand: where the turn is 90 degrees, the output's
# (row, column) from the middle looks at the input's (column, -row), so that the input's (0, 2) comes to (-2, 0).
@pytest.mark.parametrize(
    ("setting", "given", "start", "end"),
    [
        ("rotate", {"angle": [math.pi / 2]}, (4, 9), (2, 7)),
        ("rotate", {"angle": [math.pi]}, (4, 9), (4, 5)),
        ("scale", {"zoom": [2.0]}, (4, 9), (4, 11)),
        ("translate", {"shift": [[1 / 9, 0.0, 0.0]]}, (4, 9), (3, 9)),
        ("translate", {"shift": [[0.0, -2 / 15, 0.0]]}, (4, 9), (4, 11)),
        ("shear", {"slant": [1.0]}, (5, 9), (5, 8)),
        ("crop", {"kept": [1 / 9], "place": [[0.0, 0.0, 0.0]]}, (4, 7), (4, 7)),
        ("crop", {"kept": [1 / 9], "place": [[-1.0, -1.0, 0.0]]}, (1, 2), (4, 7)),
        ("crop", {"kept": [1 / 9], "place": [[1.0, 1.0, 0.0]]}, (7, 12), (4, 7)),
    ],
)
def test_warp_moves_point(setting, given, start, end):
    assert where(moved(dot((9, 15), *start), setting, **given)) == end


@pytest.mark.parametrize(
    ("setting", "plane", "given", "start", "end"),
    [
        ("rotate", (-2, -1), {"angle": [math.pi / 2]}, (3, 4, 9), (3, 2, 7)),
        ("rotate", (0, 1), {"angle": [math.pi]}, (3, 6, 9), (1, 2, 9)),
        ("rotate", (0, 2), {"angle": [math.pi / 2]}, (2, 6, 8), (1, 6, 7)),
        ("scale", (-2, -1), {"zoom": [2.0]}, (3, 4, 9), (4, 4, 11)),
        ("translate", (-2, -1), {"shift": [[1 / 5, 0.0, 2 / 15]]}, (3, 4, 9), (2, 4, 7)),
    ],
)
def test_warp_moves_point_of_volume(setting, plane, given, start, end):
    assert where(moved(dot((5, 9, 15), *start), setting, plane=plane, **given)) == end


def test_crop_of_volume_has_given_share():
    # A ramp along each axis: the slope says how much of the axis is looked at.
    for axis in range(3):
        ramp = torch.linspace(-1, 1, 16).view(*[-1 if other == axis else 1 for other in range(3)]).expand(16, 16, 16)
        out = moved(ramp[None, None].contiguous(), "crop", kept=[0.343])[0, 0]
        line = out.movedim(axis, 0)[:, 8, 8]
        assert (line[-1] - line[0]) / 2 == pytest.approx(0.7, abs=1e-5)


def test_aspect_ratio_crops_one_axis():
    ramp = torch.linspace(-1, 1, 16)
    image = torch.stack([ramp[:, None].expand(16, 16), ramp[None].expand(16, 16)])[None]
    out = moved(image, "aspect", stretch=[math.log(1.44)])[0]
    assert out[0, -1, 8] - out[0, 0, 8] == pytest.approx(2 / 1.2, abs=1e-5)
    assert out[1, 8, -1] - out[1, 8, 0] == pytest.approx(2, abs=1e-5)


def test_flip_comes_before_crop():
    # The left half, flipped: what was at its left edge is at the right.
    ramp = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()
    out = moved(ramp, "crop", flips=True, flip=[[False, True, False]], kept=[0.25], place=[[0.0, -1.0, 0.0]])[0, 0, 4]
    assert (out[:-1] >= out[1:]).all()
    assert out[0] == pytest.approx(3.25)
    assert out[-1] == pytest.approx(0, abs=0.26)


@pytest.mark.parametrize("plane", [(-2, -1), (0, 2), (1, 0)])
@pytest.mark.parametrize("padding", ["reflection", "border", "zeros"])
def test_slices_as_channels_match_volume(plane, padding):
    image = torch.rand(4, 2, 5, 6, 7)
    settings = {**REST, "rotate": 40.0, "shear": 10.0, "aspect": 0.3, "plane": plane}
    generator = torch.Generator().manual_seed(2)
    basic, streams = Geometry.basic(4, generator), Streams(generator)
    # The least zoom that there is takes the other way.
    whole, slices = (
        warp(image, Geometry.of(strengths, basic, streams, "x"), strengths, flips=True, padding=padding)
        for strengths in (Strengths(**{**settings, "scale": 1e-9}), Strengths(**settings))
    )
    assert slices.shape == image.shape
    assert torch.allclose(slices, whole, atol=1e-5)


def test_flips_of_selected_axes():
    image = torch.rand(1, 1, 3, 4, 5)
    flip = [[True, True, True]]
    for axes in ((0,), (2,), (-1,), (0, -2)):
        strengths = Strengths(**{**REST, "flips": axes})
        out = warp(image, drawn(flip=flip), strengths, flips=True, padding="zeros")
        assert torch.equal(out, image.flip([axis % 3 + 2 for axis in axes]))
        assert warp(image, drawn(flip=flip), strengths, flips=False, padding="zeros") is image


def test_drawn_values_reach_strengths():
    strengths = Strengths(
        **REST | {"rotate": 30.0, "scale": 0.2, "translate": 0.1, "shear": 10, "crop": 0.5, "aspect": 1}
    )
    generator = torch.Generator().manual_seed(0)
    geometry = Geometry.of(strengths, Geometry.basic(5000, generator), Streams(generator), "x")
    for name, low, high in (
        ("angle", -math.pi / 6, math.pi / 6),
        ("zoom", 0.8, 1.2),
        ("shift", -0.1, 0.1),
        ("slant", -math.tan(math.pi / 18), math.tan(math.pi / 18)),
        ("kept", 0.5, 1.0),
        ("stretch", -math.log(2), math.log(2)),
        ("place", -1, 1),
    ):
        values = getattr(geometry, name)
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high + 1e-6
    assert geometry.flip.float().mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("shape", [(20, 30), (8, 10, 12)])
def test_erased_boxes_have_share_and_cases(shape):
    n = 40
    image = torch.rand(n, 2, *shape)
    chosen = torch.arange(n) % 4 != 0
    share, stretch = torch.full((n,), 0.125), 0.3 * torch.rand(n, 3)
    out = erased(image, chosen, share, stretch, 2 * torch.rand(n, 3) - 1)
    hole = (out != image).any(dim=1)
    assert not hole[~chosen].any()
    assert hole[chosen].flatten(1).float().mean(dim=1).sub(0.125).abs().max() < 0.06
    for case in torch.nonzero(chosen).flatten().tolist():
        # A box: as many cells as the product of its sides. Filled with the mean of the whole image.
        places = hole[case].nonzero()
        sides = places.amax(0) - places.amin(0) + 1
        assert len(places) == sides.prod()
        for channel in range(2):
            filling = out[case, channel][hole[case]]
            assert torch.allclose(filling, image[case, channel].mean().expand_as(filling), atol=1e-6)
