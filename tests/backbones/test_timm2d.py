from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from mmfusion.backbones import Timm, create_backbone
from mmfusion.spec import Image

VIT = "test_vit"  # timm keeps a few tiny models for tests
RAGGED = ["densenet121", "hrnet_w18_small", "coat_tiny"]  # timm prunes the last two less than it could
APART = ["test_resnet", "test_efficientnet", "test_mambaout", "test_coatnet", "test_nfnet", "test_byobnet"]


def make(name: str, size: int = 64, **options: Any) -> Timm:
    return Timm(name, size=(size, size), **options)


@pytest.mark.parametrize("stages", [None, (1, 3), "all"])
@pytest.mark.parametrize("name", [*APART, pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow)])
def test_stage_by_stage_matches_timm(name: str, stages: Any) -> None:
    encoder = make(name, stages=stages).eval()
    n_levels = len(timm.create_model(name).feature_info) if stages == "all" else 4
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        y = encoder.stem(x)
        maps = encoder(x)
        assert len(maps) == encoder.n_stages == (n_levels if isinstance(stages, str | None) else len(stages))
        for i, expected in enumerate(maps):
            y = encoder.stage(i, y)
            assert torch.equal(y, expected)


@pytest.mark.parametrize("name", APART)
def test_stages_are_channels_first(name: str) -> None:
    """The stem and each stage have the declared channels at dimension 1."""
    encoder = make(name).eval()
    steps = encoder.steps(torch.rand(1, 3, 64, 64))
    assert tuple(step.shape[1] for step in steps[1:]) == encoder.channels
    assert all(step.shape[2] == step.shape[3] for step in steps)


def test_layers_before_first_stage_are_the_stem() -> None:
    def paths(stages: Any) -> Any:
        return Timm("test_resnet", stages=stages)._groups

    stem = ["conv1", "bn1"]
    assert paths((0, 1)) == [stem, ["act1"], ["maxpool", "layer1"]]
    assert paths((1, 2)) == [[*stem, "act1"], ["maxpool", "layer1"], ["layer2"]]
    assert paths((2, 4)) == [[*stem, "act1", "maxpool", "layer1"], ["layer2"], ["layer3", "layer4"]]


@pytest.mark.parametrize("stages", [(0,), (1, 3)])
@pytest.mark.parametrize("name", [*APART, VIT, *(pytest.param(n, marks=pytest.mark.slow) for n in RAGGED)])
def test_layers_after_last_stage_get_no_gradient(name: str, stages: Any) -> None:
    encoder = make(name, 32, stages=stages)
    sum(m.square().mean() for m in encoder(torch.rand(2, 3, 32, 32))).backward()
    assert [key for key, p in encoder.named_parameters() if p.requires_grad and p.grad is None] == []
    assert any(p.grad is not None for p in encoder.parameters())


def test_model_without_stages_raises() -> None:
    encoder = make(VIT, 32, n_stages=1)
    for call in (lambda: encoder.stem(torch.rand(1, 3, 32, 32)), lambda: encoder.stage(0, torch.rand(1, 3, 2, 2))):
        with pytest.raises(ValueError, match=r"'test_vit' cannot be taken apart.*ConvNeXt.*SwinTransformer"):
            call()


@pytest.mark.parametrize("i", [-1, 2])
def test_unknown_stage_raises(i: int) -> None:
    encoder = Timm("test_resnet", n_stages=2)
    with pytest.raises(ValueError, match=f"'test_resnet' has the stages 0 to 1 here, got {i}"):
        encoder.stage(i, torch.rand(1, 32, 8, 8))


@pytest.mark.parametrize(
    ("stages", "n_stages", "channels"),
    [
        (None, 4, (32, 48, 192, 96)),
        (None, 1, (96,)),
        (None, 5, (32, 32, 48, 192, 96)),
        ("all", 2, (32, 32, 48, 192, 96)),
        ((0, 2), 4, (32, 48)),
        ((-1,), 4, (96,)),
        ((4, 1, 1), 4, (32, 96)),
    ],
)
def test_selected_stages_give_their_channels(stages: Any, n_stages: int, channels: tuple[int, ...]) -> None:
    encoder = Timm("test_resnet", stages=stages, n_stages=n_stages)
    assert encoder.channels == channels
    assert tuple(m.shape[1] for m in encoder(torch.rand(2, 3, 32, 32))) == channels


@pytest.mark.parametrize(("n_stages", "levels"), [(1, (5,)), (3, (1, 3, 5)), (4, (0, 2, 3, 5)), (6, tuple(range(6)))])
def test_stages_of_one_resolution_are_evenly_spaced(n_stages: int, levels: tuple[int, ...]) -> None:
    assert make(VIT, 32, n_stages=n_stages)._levels == levels


@pytest.mark.slow
def test_normalization_is_in_the_state_dict() -> None:
    encoder = Timm("resnet18")
    assert encoder.state_dict()["mean"].tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert encoder.state_dict()["std"].tolist() == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize("in_channels", [1, 2])
def test_other_numbers_of_channels(in_channels: int) -> None:
    encoder = Timm("test_efficientnet", in_channels=in_channels)
    assert len(encoder.mean) == len(encoder.std) == in_channels
    assert encoder(torch.rand(2, in_channels, 32, 32))[-1].shape[1] == encoder.channels[-1]


# What is computed, and what is kept for it.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_mambaout", "test_coatnet", VIT, "test_convnext"])
def test_parameter_depths_match_gradients(name: str) -> None:
    """Against the gradients of each map by itself."""
    encoder = make(name, n_stages=3)
    found = encoder.parameter_depths()
    parameters = dict(encoder.named_parameters())
    expected: dict[str, int] = {}
    for i, m in enumerate(encoder(torch.rand(2, 3, 64, 64))):
        grads = torch.autograd.grad(m.sum(), list(parameters.values()), retain_graph=True, allow_unused=True)
        for key, grad in zip(parameters, grads, strict=True):
            if grad is not None:
                expected.setdefault(key, i + 1)
    assert {key: max(depth, 1) for key, depth in found.items()} == expected
    assert set(found.values()) == {0, 1, 2, 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("test_vit", ["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]),
        ("test_convnext", ["stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"]),
    ],
)
def test_stem_parameters_have_depth_0(name: str, stem: list[str]) -> None:
    depths = make(name, 32).parameter_depths()
    assert sorted(key for key, depth in depths.items() if depth == 0) == sorted(f"model.{key}" for key in stem)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", VIT, "test_mambaout"])
def test_freeze_stages(name: str) -> None:
    encoder = make(name, 32)
    encoder.freeze(2)
    encoder.train()
    before = {key: value.clone() for key, value in encoder.named_buffers()}
    maps = encoder(torch.rand(2, 3, 32, 32))
    assert [m.grad_fn is None for m in maps] == [True, True, False, False]
    depths = encoder.parameter_depths()
    assert {key: not p.requires_grad for key, p in encoder.named_parameters()} == {k: d <= 2 for k, d in depths.items()}
    for key, value in encoder.named_buffers():
        part = key.rpartition(".")[0]
        if key.endswith("running_mean"):
            assert torch.equal(value, before[key]) == (depths[f"{part}.weight"] <= 2)
    encoder.freeze("all")
    assert not any(part.training for part in encoder.modules())
    assert all(m.grad_fn is None for m in encoder(torch.rand(2, 3, 32, 32)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*APART, VIT, "test_convnext", "test_nfnet", "test_efficientnet_ln"])
@pytest.mark.parametrize("by_stages", [False, True])
def test_checkpointing_matches_and_saves_memory(name: str, by_stages: bool) -> None:
    """timm's own, and by stages and blocks where batches are counted; also when stages are called alone."""
    x = torch.rand(2, 3, 64, 64)
    encoder = make(name)
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    runs = []
    for enable in (False, True):
        encoder.load_state_dict(state)
        encoder.zero_grad()
        encoder.set_grad_checkpointing(enable)
        kept = 0

        def keep(saved: Tensor) -> Tensor:
            nonlocal kept
            kept += saved.numel() if not isinstance(saved, nn.Parameter) else 0
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            maps = encoder.steps(x)[1:] if by_stages else encoder(x)
        sum(m.square().mean() for m in maps).backward()
        grads = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        runs.append((kept, [*maps, *grads, *(value.clone() for value in encoder.buffers())]))
    (without, expected), (with_it, found) = runs
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert with_it < 0.7 * without


@pytest.mark.slow
def test_model_without_checkpointing_raises() -> None:
    encoder = make("pit_ti_224", 32, n_stages=3)
    with pytest.raises(ValueError, match="'pit_ti_224' has no gradient checkpointing in timm, and cannot be taken"):
        encoder.set_grad_checkpointing()
    encoder.set_grad_checkpointing(False)


# What is refused.


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "unknown encoder 'resnet81'; did you mean 'resnet18'"),
        (
            "resnet18.nothing",
            {},
            r"unknown weights in the encoder's name 'resnet18.nothing'; there are resnet18.a1_in1k",
        ),
        ("test_resnet", {"stages": (5,)}, r"'test_resnet' has the stages 0 to 4, or 'all', got \(5,\)"),
        ("test_resnet", {"stages": ()}, r"'test_resnet' has the stages 0 to 4, or 'all', got \(\)"),
        ("test_resnet", {"stages": "some"}, "'test_resnet' has the stages 0 to 4, or 'all', got 'some'"),
        ("test_resnet", {"n_stages": 6}, "'test_resnet' has 5 stages, got n_stages=6"),
        ("test_resnet", {"n_stages": 0}, "'test_resnet' has 5 stages, got n_stages=0"),
        ("test_resnet", {"size": (8, 8, 8)}, r"'test_resnet' encodes 2D images, got a size of 3 axes: \(8, 8, 8\)"),
        (
            "maxvit_tiny_tf_224",
            {"size": (8, 8)},
            r"'maxvit_tiny_tf_224' cannot take images of 8x8: .*made for \(224, 224\): choose a multiple",
        ),
        # Nothing is cut off in silence.
        (
            VIT,
            {"size": (40, 32)},
            "patches of 16 pixels.*40x32 would be cut off: .*multiples of 16, such as 32x32",
        ),
        ("test_convnext", {"size": (66, 64)}, "reads patches of 4 pixels.*66x64 would.*multiples of 4, such as 64x64"),
        (VIT, {"size": (5, 32)}, "multiples of 16, such as 16x32"),
        ("pit_ti_224", {"size": (36, 40), "n_stages": 3}, "multiples of 8, such as 32x40"),
        # A table for 7 x 7 positions in the last stage.
        (
            "efficientformer_l1",
            {"size": (64, 64)},
            "'efficientformer_l1' cannot take .* the 224x224 it was made for",
        ),
    ],
)
def test_invalid_options_raise(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Timm(name, **options)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "test_resnet",
            (2, 1, 32, 32),
            r"takes 2D images of 3 channels, .*\(b, 3, height, width\), got \(2, 1, 32",
        ),
        ("test_resnet", (2, 3, 32, 32, 8), r"test_resnet takes 2D images of 3 channels.*got \(2, 3, 32, 32, 8\)"),
        ("test_resnet", (3, 32, 32), r"takes 2D images of 3 channels.*got \(3, 32, 32\)"),
        ("test_convnext", (1, 3, 32, 33), "reads patches of 4 pixels.*32x33 would be cut off.*such as 32x32"),
        (VIT, (1, 3, 32, 48), r"'test_vit' was built for images of 32x32, got 32x48: give size=\(32, 48\)"),
        ("test_convnext", (1, 3, 4, 4), "'test_convnext' cannot take images of 3 channels and 4x4 pixels.*larger"),
        ("test_convnext", (1, 3, 0, 4), "'test_convnext' cannot take images of .*0x4 pixels"),
        ("edgenext_xx_small", (1, 3, 4, 4), "'edgenext_xx_small' cannot take images .*4x4 pixels .*multiples of 32"),
    ],
)
def test_invalid_images_raise(name: str, shape: tuple[int, ...], message: str) -> None:
    """Also in a dry run."""
    encoder = make(name, 32)
    with pytest.raises(ValueError, match=message):
        encoder(torch.zeros(shape))
    with pytest.raises(ValueError, match=message):
        encoder.to("meta")(torch.zeros(shape, device="meta"))


@pytest.mark.slow
def test_pretrained_image_size_is_accepted() -> None:
    """384 pixels are 27 patches of 14 and a remainder, and timm's own weights are for 27."""
    name = "vit_so400m_patch14_siglip_384"
    with torch.device("meta"):
        assert Timm(name, n_stages=1)(torch.zeros(1, 3, 384, 384))[0].shape[2:] == (27, 27)
        with pytest.raises(ValueError, match="multiples of 14, such as 392x392"):
            Timm(name, size=(390, 390))


def test_errors_not_about_shape_pass_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make("test_resnet", 32)

    def broken(x: Tensor) -> Tensor:
        if x.device.type == "meta":
            return x
        raise RuntimeError("out of memory")

    monkeypatch.setattr(encoder.model.maxpool, "forward", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        encoder(torch.rand(1, 3, 32, 32))


def test_single_position_in_training_raises() -> None:
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        make("test_resnet", 32)(torch.rand(1, 3, 32, 32))


def test_model_without_features_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="'resnet18' gives no intermediate features: choose another"):
        Timm("resnet18")


@pytest.mark.slow
def test_created_by_name() -> None:
    encoder = create_backbone("resnet18", Image(1, (32, 32)), n_stages=2)
    assert encoder.channels == (256, 512)
    with pytest.raises(ValueError, match="'resnet18' would be a timm model, which encodes 2D images; the image is"):
        create_backbone("resnet18", Image(1, (8, 8, 8)))
