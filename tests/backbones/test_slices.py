from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from mmfusion.backbones import ConvNet, ResNet3d, Slices, Timm, create_backbone
from mmfusion.backbones.slices import GatedAttention
from mmfusion.fusion.vectors import Concat
from mmfusion.heads import MLPHead
from mmfusion.models import FusionModel, ImageEncoders
from mmfusion.pooling import MeanPooling
from mmfusion.spec import DataSpec, Image
from mmfusion.tokenizers.image import Pyramid


def encoder(**options: Any) -> Slices:
    return Slices(ConvNet(in_channels=2, widths=(4, 6)), **options).eval()


def test_attention_matches_loop() -> None:
    """One instance after another, in scalars."""
    attend, x = GatedAttention(2, d_hidden=3), torch.randn(1, 4, 2)
    v, u, w = attend.content.weight, attend.gate.weight, attend.score.weight[0]
    scores = [
        sum(w[j] * (v[j] @ h).tanh() / (1 + (-(u[j] @ h)).exp()) for j in range(3))  # L = 3
        for h in x[0]
    ]
    weights = torch.stack([score.exp() for score in scores])
    torch.testing.assert_close(attend(x)[0], weights / weights.sum())


def test_maps_are_weighted_means_of_slices() -> None:
    ours, x = encoder(), torch.rand(2, 2, 8, 12, 5)
    found, weights = ours(x), ours.attention(x)
    assert [tuple(m.shape) for m in found] == [(2, 4, 4, 6), (2, 6, 2, 3)]
    assert (ours.channels, ours.reductions, ours.n_axes, ours.n_stages) == ((4, 6), ((2, 2), (4, 4)), 3, 2)
    for stage in range(2):
        assert weights[stage].shape == (2, 5)
        torch.testing.assert_close(weights[stage].sum(1), torch.ones(2))
        for case in range(2):
            maps = [ours.encoder(x[case : case + 1, :, :, :, k])[stage][0] for k in range(5)]
            expected = sum(weights[stage][case, k] * maps[k] for k in range(5))
            torch.testing.assert_close(found[stage][case], expected)
            pooled = torch.stack([m.mean((1, 2)) for m in maps])
            torch.testing.assert_close(weights[stage][case], ours.attend[stage](pooled[None])[0])


def test_invariant_to_slice_order() -> None:
    ours, x = encoder(), torch.rand(1, 2, 8, 8, 4)
    for one, other in zip(ours(x), ours(x.flip(-1)), strict=True):
        torch.testing.assert_close(one, other)


def test_volume_of_one_slice_equals_image() -> None:
    ours, x = encoder(), torch.rand(2, 2, 8, 8, 1)
    for one, other in zip(ours(x), ours.encoder(x.squeeze(-1)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("axis", [0, 1, 2, -3])
def test_depth_axis_is_configurable(axis: int) -> None:
    x = torch.rand(1, 2, 8, 12, 5)
    last = encoder()
    ours = encoder(depth_axis=axis)
    ours.load_state_dict(last.state_dict())
    for one, other in zip(ours(x.movedim(-1, 2 + axis % 3)), last(x), strict=True):
        assert torch.equal(one, other)


def test_every_parameter_gets_gradient() -> None:
    ours = encoder().train()
    sum(m.square().sum() for m in ours(torch.rand(2, 2, 8, 8, 3))).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in ours.parameters())


def test_freeze_leaves_attention_trainable() -> None:
    ours = encoder().train()
    ours.freeze("all")
    ours.train()
    assert {key.split(".")[0] for key, p in ours.named_parameters() if p.requires_grad} == {"attend"}
    assert not any(part.training for part in ours.encoder.modules())
    ours.freeze(1)
    depths = ours.parameter_depths()
    assert set(depths) == {key for key, _ in ours.named_parameters()}
    assert depths["attend.0.gate.weight"] == 1
    assert depths["attend.1.gate.weight"] == depths["encoder.stages.1.0.conv1.weight"] == 2
    frozen = {key for key, p in ours.named_parameters() if not p.requires_grad}
    assert frozen == {key for key, depth in depths.items() if depth < 2 and key.startswith("encoder")}


def test_checkpointing_applies_to_encoder() -> None:
    ours, x = encoder().train(), torch.rand(2, 2, 8, 8, 3)
    grads = []
    for enable in (False, True):
        ours.set_grad_checkpointing(enable)
        assert ours.encoder._recompute is enable
        ours.zero_grad()
        sum(m.square().sum() for m in ours(x)).backward()
        grads.append([p.grad.clone() for p in ours.parameters() if p.grad is not None])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_created_by_name() -> None:
    found = create_backbone("slices/test_resnet", Image(1, (32, 48, 6)), n_stages=2)
    assert isinstance(found, Slices)
    assert isinstance(found.encoder, Timm)
    assert (found.name, found.depth_axis, len(found.mean), found.n_stages) == ("slices/test_resnet", 2, 1, 2)
    assert [tuple(m.shape[2:]) for m in found(torch.rand(2, 1, 32, 48, 6))] == [(2, 3), (1, 2)]
    # A registered 2D encoder; the slices lie along the axis with the longest voxels, which is known here.
    found = create_backbone("slices/convnet", Image(1, (32, 32, 32), spacing=(1, 5, 1)))
    assert isinstance(found, Slices)
    assert found.depth_axis == 1
    # Models that are built for one size are built for the slices'.
    found = create_backbone("slices/test_vit", Image(1, (3, 32, 48)), n_stages=1)
    assert found(torch.rand(1, 1, 3, 32, 48))[0].shape[2:] == (2, 3)


def test_weights_load_into_2d_encoder(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet").state_dict()
    torch.save(source, tmp_path / "weights.pth")
    found = create_backbone("slices/test_resnet", Image(3, (32, 32, 4)), weights=tmp_path / "weights.pth")
    assert isinstance(found, Slices)
    assert torch.equal(found.encoder.state_dict()["model.layer1.0.conv1.weight"], source["layer1.0.conv1.weight"])
    with pytest.raises(ValueError, match="'convnet' has no weights to load"):
        create_backbone("slices/convnet", Image(3, (32, 32, 4)), weights="pretrained")


def test_trains_in_model() -> None:
    """Tokenizers accept the 2D maps of volumes."""
    spec = DataSpec({"scan": Image(2, (16, 16, 4))}, n_classes=3)
    encoders = ImageEncoders(spec.images, {"scan": encoder()})
    vectors = Concat(spec.names, dim=8)
    model = FusionModel(
        encoders=encoders,
        tokenizers={"scan": Pyramid(spec["scan"], encoders.map_shapes["scan"], dim=8, n_latents=3)},
        pooling=MeanPooling(),
        vectors=vectors,
        head=MLPHead(spec.targets, dim=vectors.dim_out),
    )
    assert model({"scan": torch.rand(2, 2, 16, 16, 4)}).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Slices(ConvNet(n_axes=3)), "need an encoder of 2D images, ConvNet encodes images of 3 axes"),
        (lambda: encoder(depth_axis=3), "depth_axis expects int from -3 to 2, got 3"),
        (lambda: encoder().stem(torch.rand(1, 2, 8, 8, 2)), "slices/ConvNet cannot be taken apart between its stages"),
        (lambda: encoder().stage(0, torch.rand(1, 2, 8, 8)), "slices/ConvNet cannot be taken apart"),
        (
            lambda: encoder()(torch.rand(1, 2, 8, 8)),
            r"ConvNet takes 3D images of 2 channels.*got \(1, 2, 8, 8\)",
        ),
        (lambda: encoder()(torch.rand(1, 3, 8, 8, 2)), r"takes 3D images of 2 channels.*got \(1, 3, 8, 8, 2\)"),
        (lambda: encoder().freeze(3), "the encoder ConvNet has 2 stages: freeze 0"),
        (
            lambda: create_backbone("slices/convnet", Image(1, (8, 8))),
            r"'slices/convnet' encodes the slices of volumes; the image is \(8, 8\)",
        ),
        (lambda: create_backbone("slices/resnet3d18", Image(1, (8, 8, 8))), "'resnet3d18' encodes volumes"),
        (lambda: create_backbone("slices/resnet81", Image(1, (8, 8, 8))), "unknown encoder 'resnet81'"),
        (lambda: create_backbone("resnet18", Image(1, (8, 8, 8))), "Take 'slices/resnet18' for its slices"),
    ],
)
def test_invalid_options_raise(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_3d_encoder_raises() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match="resnet3d10 encodes images of 3 axes"):
        Slices(ResNet3d(10))
