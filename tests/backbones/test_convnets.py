import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmfusion.backbones import Backbone, ConvNet, ResNet3d, create_backbone
from mmfusion.backbones.convnets import MeanPool, ResidualBlock
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
def test_map_shapes(options: Any, size: tuple[int, ...], expected: Any, reductions: Any) -> None:
    encoder = ConvNet(**options)
    assert shapes(encoder, size) == [(2, *one) for one in expected]
    assert encoder.channels == tuple(one[0] for one in expected)
    assert encoder.reductions == tuple(reductions)
    assert encoder.n_stages == len(expected)
    assert encoder.n_axes == len(size)


@pytest.mark.parametrize("size", [(32, 32), (32, 32, 8)])
def test_tiny_convnet_halves_every_map(size: tuple[int, ...]) -> None:
    plain, tiny = (create_backbone(name, Image(2, size), n_stages=4) for name in ("convnet", "tiny_convnet"))
    x = torch.rand(2, 2, *size)
    assert tiny.channels == plain.channels
    for small, large in zip(tiny(x), plain(x), strict=True):
        assert small.shape[2:] == tuple(math.ceil(n / 2) for n in large.shape[2:])


@pytest.mark.parametrize("in_channels", [1, 5])
def test_any_number_of_channels(in_channels: int) -> None:
    assert shapes(ConvNet(in_channels=in_channels, widths=(4,)), (4, 4), in_channels) == [(2, 4, 2, 2)]


def test_last_stages_only() -> None:
    """The same network; earlier maps are not returned."""
    whole = ConvNet(widths=(4, 6, 8))
    last = ConvNet(widths=(4, 6, 8), n_stages=1)
    last.load_state_dict(whole.state_dict())
    assert (last.channels, last.reductions, last.n_stages) == ((8,), ((8, 8),), 1)
    x = torch.rand(2, 3, 16, 16)
    (found,) = last.eval()(x)
    assert torch.equal(found, whole.eval()(x)[-1])


def test_stage_by_stage_matches_forward() -> None:
    encoder, x = ConvNet(widths=(4, 6, 8), n_stages=2).eval(), torch.rand(2, 3, 16, 16)
    y = encoder.stem(x)
    for i, expected in enumerate(encoder(x)):
        y = encoder.stage(i, y)
        assert torch.equal(y, expected)


def test_normalization_of_pixels() -> None:
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert ConvNet(in_channels=1).normalise(x).flatten().tolist() == [-1, 0, 1]


def test_every_parameter_gets_gradient() -> None:
    encoder = ConvNet(widths=(4, 8), n_blocks=2)
    encoder(torch.rand(2, 3, 8, 8))[-1].square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters())


def test_mean_pool_ignores_padding() -> None:
    x = torch.tensor([[1.0, 2, 3], [4, 5, 6]]).view(1, 1, 2, 3)
    assert MeanPool((2, 2))(x).flatten().tolist() == [3, 4.5]
    assert MeanPool((1, 2))(x).flatten().tolist() == [1.5, 3, 4.5, 6]
    assert MeanPool((4, 1))(x).flatten().tolist() == [2.5, 3.5, 4.5]
    assert MeanPool((2, 2, 2))(torch.ones(1, 1, 3, 1, 2)).flatten().tolist() == [1, 1]


def test_pooled_shortcut_uses_every_position() -> None:
    block = ResidualBlock(2, 3, stride=(2, 2), pooled=True).eval()
    x = torch.rand(1, 2, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(block.shortcut(x).sum(), x)
    assert bool(grad.all())


DEPTHS = {"entry": 0, "stages.0": 0, "stages.1": 1, "stages.2": 2}
"""Of the network below, whose first stage is not asked for."""


def network() -> ConvNet:
    return ConvNet(widths=(4, 6, 8), n_blocks=2, n_stages=2)


def test_parameter_depths() -> None:
    encoder = network()
    before = copy.deepcopy(encoder.state_dict())
    found = encoder.parameter_depths()
    assert list(found) == [name for name, _ in encoder.named_parameters()]
    assert all(depth == DEPTHS[name[: len("stages.0") if name[0] == "s" else 5]] for name, depth in found.items())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert encoder.training


@pytest.mark.slow
@pytest.mark.parametrize("stages", [0, 1, 2, "all", "none"])
def test_freeze_stages(stages: Any) -> None:
    """No gradient, fixed batch statistics, nothing stored for the backward pass; the rest is trained."""
    encoder = network()
    encoder.freeze(stages)
    encoder.train()
    last = {"all": 2, "none": -1}.get(stages, stages)
    frozen = {name: depth <= last for name, depth in encoder.parameter_depths().items()}
    assert {name: not p.requires_grad for name, p in encoder.named_parameters()} == frozen
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    steps = encoder.steps(torch.rand(4, 3, 16, 16))
    assert [step.grad_fn is None for step in steps] == [i <= last for i in range(3)]
    if last < 2:
        steps[-1].square().sum().backward()
    assert {name: p.grad is None for name, p in encoder.named_parameters()} == frozen
    for name, value in encoder.named_buffers():
        part = name.rpartition(".")[0]
        assert torch.equal(value, before[name]) == (not part or frozen[f"{part}.weight"])


@pytest.mark.slow
def test_freeze_replaces_previous_freeze() -> None:
    encoder = network()
    encoder.stages[2][0].conv1.weight.requires_grad_(False)  # by hand
    for stages in ("all", 1, 0):
        encoder.freeze(stages)
        last = encoder.n_stages if stages == "all" else int(stages)
        depths = encoder.parameter_depths()
        frozen = {name for name, p in encoder.named_parameters() if not p.requires_grad}
        assert frozen == {name for name, depth in depths.items() if depth <= last} | {"stages.2.0.conv1.weight"}
        assert encoder.training is (stages != "all")
        assert encoder.stages[1].training is (stages == 0)
    encoder.freeze("none")
    encoder.train()
    assert [name for name, p in encoder.named_parameters() if not p.requires_grad] == ["stages.2.0.conv1.weight"]
    assert all(part.training for part in encoder.modules())


def test_freeze_keeps_evaluation_mode() -> None:
    encoder = network().eval()
    encoder.freeze(0)
    assert not any(part.training for part in encoder.modules())


def test_frozen_encoder_passes_gradient_to_image() -> None:
    encoder, x = network(), torch.rand(1, 3, 16, 16, requires_grad=True)
    encoder.freeze("all")
    encoder(x)[-1].sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())


def test_copy_of_frozen_encoder_is_frozen() -> None:
    encoder = network()
    encoder.freeze(1)
    twin = copy.deepcopy(encoder).train()
    assert not twin.stages[1].training
    assert twin.stages[2].training
    twin.freeze("none")
    assert not encoder.entry[0].weight.requires_grad


def test_train_mode_keeps_frozen_stages_in_eval() -> None:
    """The parent module calls train() on it."""
    encoder = network()
    encoder.freeze(0)
    whole = nn.Sequential(encoder)
    assert not whole.train()[0].entry.training
    assert whole[0].stages[1].training


class OneStage(Backbone):
    """In one piece, and without run()."""

    def __init__(self) -> None:
        super().__init__(channels=(2,), reductions=((1, 1),), mean=(0.0,), std=(1.0,))
        self.conv = nn.Conv2d(1, 2, 1)

    def stem(self, x: Tensor) -> Tensor:
        raise ValueError("not to be had")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.conv(self.normalise(x)),)


def test_minimal_encoder_with_forward_only() -> None:
    encoder = OneStage()
    assert encoder.parameter_depths() == {"conv.weight": 1, "conv.bias": 1}
    encoder.freeze(0)
    assert encoder.conv.weight.requires_grad
    encoder.freeze(1)
    assert not encoder.conv.weight.requires_grad
    with pytest.raises(ValueError, match="the encoder OneStage has no gradient checkpointing: choose another"):
        encoder.set_grad_checkpointing()
    encoder.set_grad_checkpointing(False)


@pytest.mark.parametrize("stages", [-1, 3, True, "some", 1.0, None])
def test_freeze_of_unknown_stages_raises(stages: Any) -> None:
    with pytest.raises(
        ValueError, match=r"ConvNet has 2 stages: freeze 0 \(the stem\) to 2 of them, 'all' or 'none', got"
    ):
        network().freeze(stages)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "size"),
    [(network(), (16, 16)), (ResNet3d(10, in_channels=3, size=(16, 16, 4)), (16, 16, 4))],
    ids=["ConvNet", "ResNet3d"],
)
def test_checkpointing_matches_and_saves_memory(encoder: Backbone, size: tuple[int, ...]) -> None:
    x, weighing = torch.rand(2, 3, *size), torch.rand(1)
    runs = []
    for enable in (False, True):
        twin = copy.deepcopy(encoder)
        twin.set_grad_checkpointing(enable)
        kept = 0

        def keep(saved: Tensor) -> Tensor:
            nonlocal kept
            kept += saved.numel() if not isinstance(saved, nn.Parameter) else 0
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            maps = twin(x)
        torch.stack([m.square().mean() for m in maps]).sum().mul(weighing).sum().backward()
        grads = [p.grad for p in twin.parameters()]
        runs.append((kept, [*maps, *grads, *twin.buffers()]))
    (without, expected), (with_it, found) = runs
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert with_it < without / 3


def test_checkpointing_respects_no_grad_and_can_be_disabled() -> None:
    encoder, x = network().eval(), torch.rand(1, 3, 16, 16)
    expected = encoder(x)
    encoder.set_grad_checkpointing()
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(encoder(x), expected, strict=True))
    encoder.set_grad_checkpointing(False)
    assert encoder(x)[0].grad_fn.name() == expected[0].grad_fn.name()


def test_checkpointing_with_freezing() -> None:
    encoder = network()
    encoder.set_grad_checkpointing()
    encoder.freeze(1)
    assert set(encoder.parameter_depths().values()) == {0, 1, 2}
    assert encoder._recompute
    encoder(torch.rand(2, 3, 16, 16))[-1].sum().backward()
    assert encoder.stages[2][0].conv1.weight.grad is not None


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        (
            (2, 1, 8, 8),
            None,
            r"2D images of 3 channels, shape \(b, 3, height, width\), got \(2, 1, 8, 8\)",
        ),
        ((2, 3, 8), None, r"takes 2D images of 3 channels.*got \(2, 3, 8\)"),
        ((2, 3, 8, 8, 8), None, r"takes 2D images of 3 channels.*got \(2, 3, 8, 8, 8\)"),
        ((2, 3, 8, 8), torch.uint8, r"takes floating-point images in \[0, 1\], got torch.uint8: convert them first"),
    ],
)
def test_invalid_images_raise(shape: tuple[int, ...], dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvNet()(torch.zeros(shape, dtype=dtype))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_axes": 1}, "n_axes expects int from 2 to 3, got 1"),
        ({"widths": (4, 8), "stage_strides": [1]}, "stage_strides expects 2 values, .*got \\[1\\]"),
        (
            {"n_axes": 3, "stem_stride": (2, 2)},
            r"stem_stride expects 1 values, each one number or one for each of 3 axes",
        ),
        ({"widths": (4, 8), "n_stages": 3}, "n_stages expects 1 to 2 stages, got 3"),
        ({"widths": (4, 8), "n_stages": 0}, "n_stages expects int from 1 to 64.*, got 0"),
        ({"n_blocks": 0}, "n_blocks expects int from 1 to 128, got 0"),
        ({"widths": ()}, "widths expects 1 to 16 values"),
    ],
)
def test_invalid_options_raise(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConvNet(**options)


@pytest.mark.parametrize("size", [(8, 8), (8, 8, 4)])
def test_created_by_name(size: tuple[int, ...]) -> None:
    encoder = create_backbone("convnet", Image(2, size), n_stages=3)
    assert [m.shape[1] for m in encoder(torch.rand(2, 2, *size))] == [32, 64, 128]


def test_pretrained_weights_raise() -> None:
    with pytest.raises(ValueError, match="'convnet' has no weights to load, got weights='pretrained'"):
        create_backbone("convnet", Image(3, (8, 8)), weights="pretrained")
