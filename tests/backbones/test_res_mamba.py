from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mmfusion as mmf
from helpers.small import loss_inputs, make_inputs, make_labels, make_spec
from mmfusion.backbones import ResMamba, create_backbone
from mmfusion.backbones.res_mamba import ResidualStage, ScanLayer
from mmfusion.layers.mamba import flipped_mamba
from mmfusion.models import create_loss
from mmfusion.spec import Image

SMALL: dict[str, Any] = {"widths": (4, 6, 8)}


def shapes(encoder: ResMamba, size: tuple[int, ...], channels: int = 3) -> list[tuple[int, ...]]:
    return [tuple(m.shape) for m in encoder(torch.rand(2, channels, *size))]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.slow
def test_map_shapes_and_parameters_match_published() -> None:
    """CFCML on MEN: the maps of its four stages, and a third of the parameters of its three encoders."""
    with torch.device("meta"):
        encoder = ResMamba(in_channels=1, n_axes=3)
        maps = encoder(torch.rand(2, 1, 128, 128, 24))
    expected = [(16, 64, 64, 12), (32, 32, 32, 6), (64, 16, 16, 3), (128, 8, 8, 2)]
    assert [tuple(m.shape) for m in maps] == [(2, *one) for one in expected]
    assert [m.flatten(2).shape[2] for m in maps] == [49152, 6144, 768, 128]
    assert count(encoder) == 10_252_848 // 3
    assert encoder.channels == (16, 32, 64, 128)
    assert encoder.reductions == ((2, 2, 2), (4, 4, 4), (8, 8, 8), (16, 16, 16))


@pytest.mark.parametrize(
    ("options", "size", "expected", "reductions"),
    [
        ({}, (32, 16), [(16, 16, 8), (32, 8, 4), (64, 4, 2), (128, 2, 1)], [(2, 2), (4, 4), (8, 8), (16, 16)]),
        ({"n_axes": 3, "widths": (4, 6)}, (8, 8, 4), [(4, 4, 4, 2), (6, 2, 2, 1)], [(2, 2, 2), (4, 4, 4)]),
        (
            {"n_axes": 3, "widths": (4, 6), "stem_stride": (2, 2, 1), "stage_strides": [(4, 2, 1)]},
            (8, 8, 3),
            [(4, 4, 4, 3), (6, 1, 2, 3)],
            [(2, 2, 1), (8, 4, 1)],
        ),
        (
            {"n_axes": 3, "widths": (4, 6), "stem_kernel": (3, 3, 1), "stage_kernels": [(5, 3, 1)]},
            (8, 8, 4),
            [(4, 4, 4, 2), (6, 2, 2, 1)],
            [(2, 2, 2), (4, 4, 4)],
        ),
        ({"widths": (4, 6), "stem_stride": 1, "n_blocks": 1}, (8, 8), [(4, 8, 8), (6, 4, 4)], [(1, 1), (2, 2)]),
        ({"widths": (4,)}, (5, 4), [(4, 3, 2)], [(2, 2)]),
        ({"widths": (4, 6, 8)}, (2, 1), [(4, 1, 1), (6, 1, 1), (8, 1, 1)], [(2, 2), (4, 4), (8, 8)]),
    ],
)
def test_map_shapes(options: Any, size: tuple[int, ...], expected: Any, reductions: Any) -> None:
    encoder = ResMamba(**options).eval()
    assert shapes(encoder, size) == [(2, *one) for one in expected]
    assert encoder.channels == tuple(one[0] for one in expected)
    assert encoder.reductions == tuple(reductions)
    assert encoder.n_stages == len(expected)
    assert encoder.n_axes == len(size)


def test_kernels_along_each_axis() -> None:
    """A kernel of 1 along an axis sees one position along it; the scan sees all."""
    encoder = ResMamba(
        n_axes=3, widths=(4, 6), stem_kernel=(3, 3, 1), stage_kernels=[(3, 3, 1)], stage_strides=[1], stem_stride=1
    ).eval()
    x = torch.rand(1, 3, 5, 5, 5)
    changed = x.clone()
    changed[..., 2] += 0.5
    for scan, alone in ((encoder, False), (without_scans(encoder), True)):
        moved = [(a - b).abs().amax((0, 1, 2, 3)) > 0 for a, b in zip(scan(x), scan(changed), strict=True)]
        assert moved[0].tolist() == [False, False, True, False, False]
        assert moved[1].tolist() == ([False, False, True, False, False] if alone else [True] * 5)


def without_scans(encoder: ResMamba) -> ResMamba:
    """The same convolutions without the scan layers."""
    plain = ResMamba(
        n_axes=3,
        widths=encoder.channels,
        stem_kernel=(3, 3, 1),
        stage_kernels=[(3, 3, 1)],
        stage_strides=[1],
        stem_stride=1,
        scan=False,
    ).eval()
    own = plain.state_dict()
    plain.load_state_dict({name: value for name, value in encoder.state_dict().items() if name in own})
    return plain


def normalised(x: Tensor, conv: nn.Module, norm: nn.Module, stride: int = 1) -> Tensor:
    """A 2D convolution and its batch normalisation, in training, from the weights alone."""
    weight: Any = conv.weight
    bias: Any = conv.bias
    x = F.conv2d(x, weight, bias, stride=stride, padding=weight.shape[-1] // 2)
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    gain: Any = norm.weight
    shift: Any = norm.bias
    return (x - mean) / (var + 1e-5).sqrt() * gain[:, None, None] + shift[:, None, None]


@pytest.mark.parametrize("share", [True, False])
def test_stage_matches_reference(share: bool) -> None:
    """Three blocks; the scan layer of the input of the second and third is added to the output."""
    stage: Any = ResidualStage(3, 4, n_blocks=3, stride=(2, 2), kernel=(3, 3), scan=True, share_scan=share).double()
    for parameter in stage.parameters():
        nn.init.normal_(parameter, std=0.5)
    assert len(stage.scans) == (1 if share else 2)
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    found = stage(x)
    for i, block in enumerate(stage.blocks):
        y = F.relu(normalised(x, block.conv1, block.norm1, 1 if i else 2))
        y = normalised(y, block.conv2, block.norm2)
        if i:
            layer = stage.scans[0 if share else i - 1]
            a = F.relu(normalised(x, layer.conv1, layer.norm1))
            tokens = torch.stack([a[:, :, h, w] for h in range(4) for w in range(3)], 1)
            mixed = flipped_mamba(layer.mamba, tokens)
            grid = torch.stack([torch.stack([mixed[:, 3 * h + w] for w in range(3)], -1) for h in range(4)], 2)
            y = y + F.relu(normalised(grid + a, layer.conv2, layer.norm2)) + x
        else:
            y = y + normalised(x, block.shortcut[0], block.shortcut[1], 2)
        x = F.relu(y)
    torch.testing.assert_close(found, x, rtol=1e-10, atol=1e-11)


def test_first_stage_matches_reference() -> None:
    encoder = ResMamba(widths=(4,)).double()
    layers: Any = encoder.stages[0]
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    y = F.relu(normalised((x - 0.5) / 0.5, layers[0], layers[1], 2))
    y = F.relu(normalised(y, layers[3], layers[4]))
    torch.testing.assert_close(encoder(x)[0], y, rtol=1e-10, atol=1e-11)


def test_number_of_scan_layers() -> None:
    """One per stage shared by its blocks, one per block, or none; the first stage and a single block have none."""

    def n_scans(**options: Any) -> int:
        return sum(isinstance(module, ScanLayer) for module in ResMamba(**SMALL, **options).modules())

    assert n_scans() == 2
    assert n_scans(share_scan=False) == 4
    assert n_scans(share_scan=False, n_blocks=4) == 6
    assert n_scans(n_blocks=1) == n_scans(n_blocks=1, share_scan=False) == n_scans(scan=False) == 0
    shared, own = ResMamba(**SMALL), ResMamba(**SMALL, share_scan=False)
    assert count(own) - count(shared) == sum(count(stage.scans) for stage in shared.stages[1:])
    assert len(shared.state_dict()) == len({id(value) for value in shared.state_dict().values()})


def test_initial_variance_matches_he() -> None:
    """He et al., 2015, eq. 14: 2 over the fan-out; Mamba has its own initialization."""
    encoder: Any = ResMamba(n_axes=3, widths=(16, 32))
    conv, scan = encoder.stages[1].blocks[1].conv2, encoder.stages[1].scans[0]
    assert conv.weight.std().item() == pytest.approx((2 / (27 * 32)) ** 0.5, rel=0.05)
    assert scan.conv1.weight.std().item() == pytest.approx((2 / 32) ** 0.5, rel=0.1)
    assert scan.mamba.conv1d.weight.abs().max() <= 0.5


def test_last_stages_only() -> None:
    """The same network; earlier maps are not returned."""
    whole, last = ResMamba(**SMALL), ResMamba(**SMALL, n_stages=1)
    last.load_state_dict(whole.state_dict())
    assert (last.channels, last.reductions, last.n_stages) == ((8,), ((8, 8),), 1)
    x = torch.rand(2, 3, 16, 16)
    (found,) = last.eval()(x)
    assert torch.equal(found, whole.eval()(x)[-1])


@pytest.mark.parametrize("n_stages", [1, 2, 3])
def test_stage_by_stage_matches_forward(n_stages: int) -> None:
    encoder, x = ResMamba(**SMALL, n_stages=n_stages).eval(), torch.rand(2, 3, 16, 16)
    y = encoder.stem(x)
    for i, expected in enumerate(encoder(x)):
        y = encoder.stage(i, y)
        assert torch.equal(y, expected)


def test_equivariant_to_case_order() -> None:
    encoder, x = ResMamba(**SMALL, n_axes=3).eval(), torch.rand(4, 3, 8, 8, 8)
    order = torch.tensor([2, 0, 3, 1])
    for one, other in zip(encoder(x), encoder(x[order]), strict=True):
        torch.testing.assert_close(one[order], other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("n_axes", [2, 3])
def test_every_parameter_gets_gradient(n_axes: int, share: bool) -> None:
    """In evaluation mode: in training, a norm cancels the biases before it."""
    encoder = ResMamba(n_axes=n_axes, widths=(4, 6), share_scan=share).eval()
    encoder(torch.rand(2, 3, *(8,) * n_axes))[-1].square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_parameter_depths() -> None:
    """The first returned stage is the second of the network."""
    encoder = ResMamba(**SMALL, n_stages=2)
    assert encoder.parameter_depths() == {name: int(name.split(".")[1]) for name, _ in encoder.named_parameters()}


@pytest.mark.parametrize("share", [True, False])
def test_checkpointing_does_not_change_numbers(share: bool) -> None:
    """Values, gradients and batch statistics, also of a scan layer that runs twice."""
    runs = []
    for enable in (False, True):
        torch.manual_seed(0)
        encoder = ResMamba(**SMALL, share_scan=share)
        encoder.set_grad_checkpointing(enable)
        maps = encoder(torch.rand(2, 3, 16, 16))
        torch.stack([m.square().mean() for m in maps]).sum().backward()
        runs.append([*maps, *(p.grad for p in encoder.parameters()), *encoder.buffers()])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_frozen_stages_get_no_gradient() -> None:
    encoder = ResMamba(**SMALL)
    encoder.freeze(2)
    steps = encoder.steps(torch.rand(2, 3, 16, 16))
    assert [step.requires_grad for step in steps] == [False, False, False, True]
    steps[-1].sum().backward()
    assert all((p.grad is None) == name.startswith(("stages.0", "stages.1")) for name, p in encoder.named_parameters())


def test_normalization_of_pixels() -> None:
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert ResMamba(in_channels=1, widths=(4,)).normalise(x).flatten().tolist() == [-1, 0, 1]


def test_single_position_in_training_raises() -> None:
    """As every network with batch norm: an error in training, a result in evaluation."""
    encoder, x = ResMamba(**SMALL), torch.rand(1, 3, 2, 2)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        encoder(x)
    assert encoder.eval()(x)[-1].shape == (1, 8, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_axes": 1}, "n_axes expects int from 2 to 3, got 1"),
        ({"widths": (4, 8), "stage_strides": [1, 1]}, "stage_strides expects 1 values, .*got"),
        ({"widths": (4, 8), "stage_kernels": []}, "stage_kernels expects 1 values, .*got"),
        (
            {"n_axes": 3, "stem_stride": (2, 2)},
            r"stem_stride expects 1 values, each one number or one for each of 3 axes",
        ),
        ({"stem_stride": 0}, r"stem_stride expects int from 1 to 255"),
        ({"stem_kernel": (3, 3, 3)}, r"stem_kernel expects 1 values, .*one for each of 2 axes"),
        ({"widths": (4, 8), "stage_kernels": [(3, 2)]}, r"kernels must be odd along every axis, got .*\(3, 2\)"),
        ({"widths": (4, 8), "n_stages": 3}, "n_stages expects 1 to 2 stages, got 3"),
        ({"widths": (4, 8), "n_stages": 0}, "n_stages expects int from 1 to 64.*, got 0"),
        ({"n_blocks": 0}, "n_blocks expects int from 1 to 128, got 0"),
        ({"widths": ()}, "widths expects 1 to 16 values"),
    ],
)
def test_invalid_options_raise(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResMamba(**options)


@pytest.mark.parametrize("size", [(16, 16), (16, 16, 4)])
def test_created_by_name(size: tuple[int, ...]) -> None:
    encoder = create_backbone("res_mamba", Image(2, size), n_stages=3)
    assert isinstance(encoder, ResMamba)
    assert [m.shape[1] for m in encoder.eval()(torch.rand(2, 2, *size))] == [32, 64, 128]


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_trains_in_cfcml(shared: bool) -> None:
    """Volumes of three sequences and a table: one training step."""
    spec = make_spec(images=3, size=(16, 16, 8), channels=1)
    model = mmf.create_model(
        "cfcml", spec, encoder="res_mamba", shared_encoder=shared, dim=8, image_latents=3, table_latents=2, hidden=(8,)
    )
    assert len(model.encoders.backbones) == (1 if shared else 3)
    assert model.encoders.map_shapes["image0"] == ((16, 8, 8, 4), (32, 4, 4, 2), (64, 2, 2, 1), (128, 1, 1, 1))
    inputs, labels = make_inputs(spec, 4), make_labels(spec, 4)
    losses = create_loss(model)(loss_inputs(model(inputs), labels))
    sum(losses.values()).backward()
    assert all(bool(value.isfinite()) for value in losses.values())
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []
    there = torch.tensor([True, False, True, True])
    assert not bool(model.eval()(inputs, {"image1": there}).embeddings["image1"][1].any())
