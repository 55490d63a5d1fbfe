from typing import Any

import pytest
import torch

from mmfusion.backbones import ConvNet, create_backbone
from mmfusion.spec import Image


def shapes(encoder: ConvNet, size: tuple[int, ...], channels: int = 3) -> list[tuple[int, ...]]:
    return [tuple(m.shape) for m in encoder(torch.rand(2, channels, *size))]


@pytest.mark.parametrize(
    ("options", "size", "expected", "reductions"),
    [
        ({}, (32, 16), [(16, 16, 8), (32, 8, 4), (64, 4, 2), (128, 2, 1)], [(2, 2), (4, 4), (8, 8), (16, 16)]),
        (
            {"n_axes": 3, "widths": (4, 8)},
            (8, 8, 4),
            [(4, 4, 4, 2), (8, 2, 2, 1)],
            [(2, 2, 2), (4, 4, 4)],
        ),
        (
            {"n_axes": 3, "widths": (4, 8), "stem_stride": (2, 2, 1), "stage_strides": [(1, 1, 1), (2, 2, 1)]},
            (8, 8, 3),
            [(4, 4, 4, 3), (8, 2, 2, 3)],
            [(2, 2, 1), (4, 4, 1)],
        ),
        (
            {"widths": (4, 8), "stem_stride": 1, "stage_strides": [2, 4]},
            (16, 16),
            [(4, 8, 8), (8, 2, 2)],
            [(2, 2), (8, 8)],
        ),
    ],
)
def test_shapes(options: Any, size: tuple[int, ...], expected: Any, reductions: Any) -> None:
    encoder = ConvNet(**options)
    assert shapes(encoder, size) == [(2, *one) for one in expected]
    assert encoder.channels == tuple(one[0] for one in expected)
    assert encoder.reductions == tuple(reductions)
    assert encoder.n_stages == len(expected)
    assert encoder.n_axes == len(size)


@pytest.mark.parametrize("in_channels", [1, 5])
def test_any_number_of_channels(in_channels: int) -> None:
    assert shapes(ConvNet(in_channels=in_channels, widths=(4,)), (4, 4), in_channels) == [(2, 4, 2, 2)]


def test_the_last_stages() -> None:
    """The same network; the maps before those asked for stay inside."""
    whole = ConvNet(widths=(4, 6, 8))
    last = ConvNet(widths=(4, 6, 8), n_stages=1)
    last.load_state_dict(whole.state_dict())
    assert (last.channels, last.reductions, last.n_stages) == ((8,), ((8, 8),), 1)
    x = torch.rand(2, 3, 16, 16)
    (found,) = last.eval()(x)
    assert torch.equal(found, whole.eval()(x)[-1])


def test_stage_by_stage() -> None:
    encoder, x = ConvNet(widths=(4, 6, 8), n_stages=2).eval(), torch.rand(2, 3, 16, 16)
    y = encoder.stem(x)
    for i, expected in enumerate(encoder(x)):
        y = encoder.stage(i, y)
        assert torch.equal(y, expected)


def test_normalisation() -> None:
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert ConvNet(in_channels=1).normalise(x).flatten().tolist() == [-1, 0, 1]


def test_every_parameter_gets_a_gradient() -> None:
    encoder = ConvNet(widths=(4, 8), n_blocks=2)
    encoder(torch.rand(2, 3, 8, 8))[-1].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_axes": 1}, "n_axes must be 2 or 3, got 1"),
        ({"widths": (4, 8), "stage_strides": [1]}, "one stride a stage is needed: 2 widths, 1 strides"),
        ({"n_axes": 3, "stem_stride": (2, 2)}, r"a stride for each of 3 axes is needed, got \(2, 2\)"),
        ({"widths": (4, 8), "n_stages": 3}, "1 to 2 stages of at least 1 block, got n_stages=3"),
        ({"widths": (4, 8), "n_stages": 0}, "1 to 2 stages of at least 1 block, got n_stages=0"),
        ({"n_blocks": 0}, "at least 1 block, got .*n_blocks=0"),
        ({"widths": ()}, "one stride a stage is needed: 0 widths"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvNet(**options)


@pytest.mark.parametrize("size", [(8, 8), (8, 8, 4)])
def test_by_name(size: tuple[int, ...]) -> None:
    encoder = create_backbone("convnet", Image(2, size), n_stages=3)
    assert [m.shape[1] for m in encoder(torch.rand(2, 2, *size))] == [32, 64, 128]


def test_has_no_weights_to_load() -> None:
    with pytest.raises(ValueError, match="'convnet' has no weights to load, got weights='pretrained'"):
        create_backbone("convnet", Image(3, (8, 8)), weights="pretrained")
