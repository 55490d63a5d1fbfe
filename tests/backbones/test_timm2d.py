from typing import Any

import pytest
import timm
import torch

from mmfusion.backbones import Timm, create_backbone
from mmfusion.backbones.timm2d import _SEQUENTIAL
from mmfusion.spec import Image

# One of each class that can be taken apart, and two that cannot; sizes as small as they allow.
APART = ["resnet18", "convnext_atto", "tf_efficientnet_lite0", "mobilenetv4_conv_small", "regnetx_002"]
WHOLE = {"swin_tiny_patch4_window7_224": (56, 56), "vit_tiny_patch16_224": (32, 32)}
SIZES = dict.fromkeys(APART, (32, 32)) | WHOLE
# Building these takes a second or two each.
NAMES = [pytest.param(name, marks=pytest.mark.slow if name.startswith("swin") else ()) for name in SIZES]


def same_weights(name: str, in_channels: int = 3) -> tuple[Timm, Any]:
    """Ours, and timm's own model that holds the same numbers."""
    ours = Timm(name, in_channels=in_channels, size=SIZES[name]).eval()
    options = {"img_size": SIZES[name]} if name in WHOLE else {}
    theirs = timm.create_model(name, in_chans=in_channels, **options).eval()
    wanting = theirs.load_state_dict(ours.model.state_dict(), strict=False)
    assert not wanting.unexpected_keys
    return ours, theirs


@pytest.mark.parametrize("name", NAMES)
def test_values_are_timms_own(name: str) -> None:
    """Bit for bit, after the normalisation that its weights expect."""
    ours, theirs = same_weights(name)
    x = torch.rand(2, 3, *SIZES[name])
    config = theirs.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    levels = {"vit_tiny_patch16_224": [2, 5, 8, 11]}.get(name, 4)
    expected = theirs.forward_intermediates((x - mean) / std, indices=levels, intermediates_only=True, norm=False)
    found = ours(x)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert ours.channels == tuple(m.shape[1] for m in found)
    if name not in WHOLE:
        assert ours.reductions == tuple((32 // m.shape[2], 32 // m.shape[3]) for m in found)


@pytest.mark.parametrize("name", NAMES)
def test_no_parameter_is_without_a_gradient(name: str) -> None:
    encoder = Timm(name, size=SIZES[name])
    sum(m.square().mean() for m in encoder(torch.rand(4, 3, *SIZES[name]))).backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("stages", [None, (0,), (1, 3)])
@pytest.mark.parametrize("name", APART)
def test_stage_by_stage(name: str, stages: tuple[int, ...] | None) -> None:
    encoder = Timm(name, stages=stages).eval()
    x = torch.rand(1, 3, 64, 64)
    y = encoder.stem(x)
    maps = encoder(x)
    assert len(maps) == encoder.n_stages == (4 if stages is None else len(stages))
    for i, expected in enumerate(maps):
        y = encoder.stage(i, y)
        assert torch.equal(y, expected)


def test_every_class_that_can_be_taken_apart_is_tested() -> None:
    assert {type(timm.create_model(name)).__name__ for name in APART} == set(_SEQUENTIAL)


def test_a_model_that_cannot_be_taken_apart_says_so() -> None:
    encoder = Timm("vit_tiny_patch16_224", size=(32, 32), n_stages=1)
    for call in (lambda: encoder.stem(torch.rand(1, 3, 32, 32)), lambda: encoder.stage(0, torch.rand(1, 3, 2, 2))):
        with pytest.raises(ValueError, match=r"'vit_tiny_patch16_224' cannot be taken apart.*ConvNeXt"):
            call()


@pytest.mark.parametrize("in_channels", [1, 5])
def test_grey_and_more_channels(in_channels: int) -> None:
    ours, theirs = same_weights("tf_efficientnet_lite0", in_channels)
    assert len(ours.mean) == len(ours.std) == in_channels
    x = torch.rand(1, in_channels, 32, 32)
    expected = theirs.forward_intermediates(ours.normalise(x), indices=4, intermediates_only=True)
    assert all(torch.equal(one, other) for one, other in zip(ours(x), expected, strict=True))


@pytest.mark.parametrize(
    ("stages", "n_stages", "channels"),
    [
        (None, 4, (64, 128, 256, 512)),
        (None, 1, (512,)),
        (None, 5, (64, 64, 128, 256, 512)),
        ((0, 2), 4, (64, 128)),
        ((-1,), 4, (512,)),
        ((4, 1, 1), 4, (64, 512)),
    ],
)
def test_which_stages(stages: Any, n_stages: int, channels: tuple[int, ...]) -> None:
    encoder = Timm("resnet18", stages=stages, n_stages=n_stages)
    assert encoder.channels == channels
    assert tuple(m.shape[1] for m in encoder(torch.rand(2, 3, 32, 32))) == channels


def test_stages_of_one_resolution_are_spread_evenly() -> None:
    assert Timm("vit_tiny_patch16_224", size=(32, 32), n_stages=3)._levels == (3, 7, 11)


def test_normalisation_travels_with_the_weights() -> None:
    encoder = Timm("resnet18")
    assert encoder.state_dict()["mean"].tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert encoder.state_dict()["std"].tolist() == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "unknown encoder 'resnet81'; did you mean 'resnet18'"),
        (
            "resnet18.nothing",
            {},
            r"unknown weights in the encoder's name 'resnet18.nothing'; there are resnet18.a1_in1k",
        ),
        ("test_resnet", {"stages": (5,)}, r"'test_resnet' has the stages 0 to 4, got \[5\]"),
        ("test_resnet", {"stages": ()}, r"'test_resnet' has the stages 0 to 4, got \[\]"),
        ("test_resnet", {"n_stages": 6}, "'test_resnet' has 5 stages, got n_stages=6"),
        ("test_resnet", {"n_stages": 0}, "'test_resnet' has 5 stages, got n_stages=0"),
        ("test_resnet", {"size": (8, 8, 8)}, r"'test_resnet' encodes 2D images, got a size of 3 axes: \(8, 8, 8\)"),
        (
            "maxvit_tiny_tf_224",
            {"size": (8, 8)},
            r"'maxvit_tiny_tf_224' cannot take images of 8x8: .*made for \(224, 224\): choose a multiple",
        ),
    ],
)
def test_refuses(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Timm(name, **options)


def test_a_model_without_features_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *args, **options: torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="'resnet18' gives no intermediate features: choose another"):
        Timm("resnet18")


def test_by_name() -> None:
    encoder = create_backbone("resnet18", Image(1, (32, 32)), n_stages=2)
    assert encoder.channels == (256, 512)
    with pytest.raises(ValueError, match="'resnet18' would be a timm model, which encodes 2D images; the image is"):
        create_backbone("resnet18", Image(1, (8, 8, 8)))
