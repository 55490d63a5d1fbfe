from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.backbones import ResNet3d, create_backbone
from mmfusion.backbones.resnet3d import _FLAT, coarsest, inflate, plan
from mmfusion.spec import Image

CUBE = (2, 2, 2)
FLAT = (2, 2, 1)
ALL, PLANE = (1, 1, 1), (1, 1, 0)


@pytest.mark.parametrize(
    ("size", "spacing", "strides", "reach"),
    [
        (None, None, [CUBE] * 5, [ALL] * 5),
        ((128, 128, 128), None, [CUBE] * 5, [ALL] * 5),
        # As long along each axis: voxels 5.3 times as long as wide, so twice in the plane first. No axis below 4.
        ((128, 128, 24), None, [FLAT, FLAT, CUBE, CUBE, FLAT], [PLANE, ALL, ALL, ALL, ALL]),
        ((24, 128, 128), None, [(1, 2, 2)] * 2 + [CUBE] * 2 + [(1, 2, 2)], [(0, 1, 1), ALL, ALL, ALL, ALL]),
        ((128, 128, 24), (1, 1, 1), [CUBE, CUBE, FLAT, FLAT, FLAT], [ALL] * 5),
        ((128, 128, 24), (1, 1, 16), [FLAT, FLAT, FLAT, FLAT, CUBE], [PLANE, PLANE, PLANE, ALL, ALL]),
        # Small cubes stop at 4 voxels.
        ((32, 32, 32), None, [CUBE] * 3 + [ALL] * 2, [ALL] * 5),
        # The plane can shrink no more, and then the depth can alone.
        ((8, 8, 64), (1, 1, 1), [CUBE] + [(1, 1, 2)] * 3 + [ALL], [ALL] * 5),
        ((1, 1, 1), None, [ALL] * 5, [ALL] * 5),
    ],
)
def test_plan_of_strides(size: Any, spacing: Any, strides: Any, reach: Any) -> None:
    assert plan(size, spacing) == (strides, reach)


@pytest.mark.parametrize(
    ("size", "spacing", "axis"),
    [((9, 9, 9), None, 2), ((4, 9, 9), None, 0), ((9, 9, 9), (1, 3, 2), 1), ((4, 9, 9), (1, 1, 1), 2)],
)
def test_coarsest_axis(size: Any, spacing: Any, axis: int) -> None:
    assert coarsest(size, spacing) == axis


@pytest.mark.slow
@pytest.mark.parametrize("depth", [10, 18, 34])
def test_map_shapes(depth: int) -> None:
    with torch.device("meta"):
        encoder = ResNet3d(depth, in_channels=2, size=(128, 128, 24), n_stages=3)
        maps = encoder(torch.empty(2, 2, 128, 128, 24))
    assert [tuple(m.shape) for m in maps] == [(2, 128, 16, 16, 12), (2, 256, 8, 8, 6), (2, 512, 4, 4, 6)]
    assert encoder.channels == (128, 256, 512)
    assert encoder.reductions == ((8, 8, 2), (16, 16, 4), (32, 32, 4))
    assert (encoder.n_axes, encoder.n_stages, encoder.name) == (3, 3, f"resnet3d{depth}")


def test_strides_and_kernels_by_hand() -> None:
    kernels = [(7, 7, 3), (3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 5)]
    with torch.device("meta"):
        encoder = ResNet3d(10, strides=[FLAT, ALL, FLAT, CUBE, ALL], kernels=kernels)
        maps = encoder(torch.empty(1, 3, 16, 16, 6))
    assert [tuple(m.shape[2:]) for m in maps] == [(8, 8, 6), (4, 4, 6), (2, 2, 3), (2, 2, 3)]
    convs = [encoder.stages[i][0].conv2.kernel_size for i in range(4)]
    assert convs == kernels[1:]
    assert encoder.entry[0].kernel_size == kernels[0]


def test_inflate_by_hand() -> None:
    kernel = torch.tensor([[1.0, 2.0], [3.0, 6.0]]).view(1, 1, 2, 2)
    found = inflate(kernel, 2, axis=2)
    assert found.shape == (1, 1, 2, 2, 2)
    assert found[0, 0].tolist() == [[[0.5, 0.5], [1, 1]], [[1.5, 1.5], [3, 3]]]
    assert inflate(kernel, 3, axis=0).shape == (1, 1, 3, 2, 2)
    torch.testing.assert_close(inflate(kernel, 3, axis=0).sum(2), kernel)


def repeat_edges(network: nn.Module, axis: int) -> None:
    """Let convolutions see the first and the last slice once more beyond them, where they see zeros."""
    for conv in network.modules():
        if isinstance(conv, nn.Conv3d) and conv.kernel_size[axis] > 1:
            pads = [0] * 6
            pads[4 - 2 * axis : 6 - 2 * axis] = [conv.kernel_size[axis] // 2] * 2
            conv.padding = tuple(0 if i == axis else n for i, n in enumerate(conv.padding))
            conv.register_forward_pre_hook(lambda _, inputs, pads=pads: F.pad(inputs[0], pads, mode="replicate"))


def flat(depth: int, tmp_path: Path) -> tuple[Any, Path]:
    """A 2D network with numbers of its own, and the file of its weights."""
    model = timm.create_model(_FLAT[depth])
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    path = tmp_path / "flat.pth"
    torch.save(model.state_dict(), path)
    return model.eval(), path


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "depth_axis"), [(10, 0), (18, 2), (34, 2)])
def test_constant_volume_matches_2d_network(depth: int, depth_axis: int, tmp_path: Path) -> None:
    """Carreira and Zisserman's "boring video", at every depth."""
    model, path = flat(depth, tmp_path)
    encoder = ResNet3d(depth, depth_axis=depth_axis, weights=path).eval()
    repeat_edges(encoder, depth_axis)
    assert encoder.kernels[0][depth_axis] > 1
    image = torch.rand(2, 3, 64, 64)
    volume = image.unsqueeze(2 + depth_axis).repeat_interleave(9, 2 + depth_axis)
    with torch.no_grad():
        expected = model.forward_intermediates(encoder.normalise(volume).select(2 + depth_axis, 0), indices=4)[1]
        found = encoder(volume)
    for m, other in zip(found, expected, strict=True):
        torch.testing.assert_close(m, other.unsqueeze(2 + depth_axis).expand_as(m), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_first_stage_of_coarse_slices_matches_2d_network(tmp_path: Path) -> None:
    """Kernels of size 1 along the depth: each slice by itself, whatever its neighbors."""
    model, path = flat(18, tmp_path)
    encoder = ResNet3d(18, size=(64, 64, 3), spacing=(1, 1, 99), weights=path).eval()
    volume = torch.rand(1, 3, 64, 64, 3)
    with torch.no_grad():
        found = encoder(volume)[0]
        slices = encoder.normalise(volume)[0].movedim(-1, 0)
        expected = model.forward_intermediates(slices, indices=[1])[1][0]
    torch.testing.assert_close(found[0].movedim(-1, 0), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("in_channels", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_weights_are_adapted_to_other_channels(in_channels: int, tmp_path: Path) -> None:
    """Adapted as timm adapts them, then inflated."""
    model, path = flat(10, tmp_path)
    encoder = ResNet3d(10, in_channels=in_channels, weights=path)
    expected = timm.models.adapt_input_conv(in_channels, model.conv1[0].weight.detach()) / 3
    found = encoder.entry[0].weight.detach()
    assert found.shape == (24, in_channels, 3, 3, 3)
    torch.testing.assert_close(found, expected.unsqueeze(-1).expand_as(found))
    assert encoder.mean.tolist() == pytest.approx(([0.485, 0.456, 0.406] * 2)[:in_channels])


@pytest.mark.parametrize("depth", [10, 18, 34])
def test_every_2d_weight_is_used(depth: int) -> None:
    from mmfusion.backbones.resnet3d import _renamed

    with torch.device("meta"):
        own = ResNet3d(depth).state_dict()
        theirs = timm.create_model(_FLAT[depth]).state_dict()
    assert {_renamed(key) for key in theirs} - {"fc.weight", "fc.bias"} == set(own) - {"mean", "std"}


@pytest.mark.slow
def test_weights_from_file_or_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the 2D network, a file of the 3D network, or timm's download."""
    model, path = flat(10, tmp_path)
    image = Image(1, (32, 32, 8))
    encoder = create_backbone("resnet3d10", image, weights=path, n_stages=2)
    assert encoder.channels == (256, 512)
    assert torch.equal(encoder.stages[0][0].norm1.weight, model.layer1[0].bn1.weight)
    torch.save(encoder.state_dict(), tmp_path / "own.pth")
    again = create_backbone("resnet3d10", image, weights=tmp_path / "own.pth", n_stages=2)
    assert all(torch.equal(value, encoder.state_dict()[key]) for key, value in again.state_dict().items())

    made = timm.create_model
    asked = []

    def create(name: str, pretrained: bool = False, **options: Any) -> Any:
        asked.append((name, pretrained))
        return made(name, **options)

    monkeypatch.setattr(timm, "create_model", create)
    create_backbone("resnet3d10", image, weights="pretrained")
    assert asked == [("resnet10t", False), ("resnet10t", True)]


@pytest.mark.slow
def test_every_parameter_gets_gradient() -> None:
    encoder = ResNet3d(10, in_channels=1, size=(16, 16, 4))
    encoder(torch.rand(2, 1, 16, 16, 4))[-1].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())


@pytest.mark.slow
def test_stage_by_stage_matches_forward() -> None:
    encoder, x = ResNet3d(10, in_channels=1, size=(16, 16, 4), n_stages=2).eval(), torch.rand(1, 1, 16, 16, 4)
    y: Tensor = encoder.stem(x)
    for i, expected in enumerate(encoder(x)):
        y = encoder.stage(i, y)
        assert torch.equal(y, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 50}, "depth expects one of 10, 18, 34, got 50"),
        ({"size": (8, 8)}, r"size expects 3 values, a list of int .*, got \(8, 8\)"),
        ({"spacing": (1, 0, 1)}, r"spacing expects 3 values, a list of float above 0.*, got \(1, 0, 1\)"),
        ({"strides": [CUBE] * 4}, "strides expects 5 values, a list of 3 values"),
        ({"strides": [(2, 2)] * 5}, "strides expects 5 values, a list of 3 values"),
        ({"strides": [(2, 2, 0)] * 5}, "strides expects 5 values, a list of 3 values"),
        ({"kernels": [(3, 3, 2)] * 5}, "kernels must be odd along every axis, got"),
        ({"depth_axis": 3}, "depth_axis expects int from -3 to 2.*, got 3"),
        ({"n_stages": 5}, "n_stages expects int from 1 to 4, got 5"),
        ({"n_stages": 0}, "n_stages expects int from 1 to 4, got 0"),
        ({"weights": "bundled"}, "no package carries weights for 'resnet18'"),
        (
            {"weights": "pretrained", "size": (8, 8, 64), "depth_axis": -1},
            r"2D weights are inflated along axis 2, and need kernels of full width along the others, got \[\(1, 1, 7\)",
        ),
    ],
)
def test_invalid_options_raise(options: Any, message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        ResNet3d(**options)


@pytest.mark.slow
@pytest.mark.parametrize("state", [{"conv1.weight": torch.ones(2, 3, 1, 1)}, {"a": torch.ones(1, 1, 1, 1, 1)}])
def test_weights_of_other_architecture_raise(state: Any, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"of another architecture than ResNet.*keys missing"):
        ResNet3d(10, weights=tmp_path / "weights.pth")


def test_2d_images_raise() -> None:
    with pytest.raises(ValueError, match="'resnet3d18' encodes volumes, got images of 2 axes: take 'resnet18'"):
        create_backbone("resnet3d18", Image(1, (8, 8)))
    with torch.device("meta"), pytest.raises(ValueError, match=r"encoder resnet3d10 takes 3D images of 3 channels"):
        ResNet3d(10)(torch.empty(1, 3, 8, 8))
