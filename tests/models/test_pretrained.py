"""Folders of pretrained models that are damaged or made to do harm: one error, and nothing built before it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.small import make_spec
from mmfusion.models.pretrained import CONFIG, WEIGHTS, from_pretrained, save_pretrained

safetensors = pytest.importorskip("safetensors.torch")
NORM = "encoders.backbones.image0.entry.1.weight"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = mmf.create_model("concat", make_spec(images=1, size=(8, 8)), dim=8, hidden=())
    save_pretrained(model, tmp_path)
    return tmp_path


@pytest.fixture
def config(place: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((place / CONFIG).read_text())
    return content


def changed(config: dict[str, Any], path: str, value: Any) -> str:
    """The file's text with another value at a path; None: without it."""
    content = inner = copy.deepcopy(config)
    *keys, last = path.split(".")
    for key in keys:
        inner = inner[key]
    inner[last] = value
    if value is None:
        del inner[last]
    return json.dumps(content)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("blueprint.pooling", "os.system", "pooling: unknown pooling 'os.system'"),
        ("blueprint.encoder", None, r"config\.json is damaged: blueprint lacks 'encoder'"),
        ("blueprint.encoder", [1], "a backbone is a name"),
        ("blueprint.encoder", {"name": "nothing_here"}, "unknown encoder 'nothing_here'"),
        ("blueprint.more", 1, "a blueprint has no option 'more'"),
        ("blueprint", [], r"config\.json is damaged: blueprint expects an object"),
        ("spec.modalities.image0.kind", "os.system", r"kind expects one of .*, got 'os\.system'"),
        ("spec", None, r"config\.json is damaged: the file lacks 'spec'"),
        ("format", 2, r"has format 2, this version of mmfusion reads 1"),
    ],
)
def test_invalid_config_value_raises(place: Path, config: dict[str, Any], path: str, value: Any, message: str) -> None:
    (place / CONFIG).write_text(changed(config, path, value))
    with pytest.raises(ValueError, match=message):
        from_pretrained(place)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"format": 1', '{"format":' + "1" * 5000 + "}"])
def test_damaged_config_raises(place: Path, text: str) -> None:
    (place / CONFIG).write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        from_pretrained(place)


def test_weights_path_in_config_is_ignored(place: Path, config: dict[str, Any]) -> None:
    """The encoder's weights are in the folder."""
    (place / CONFIG).write_text(changed(config, "blueprint.encoder", {"name": "convnet", "weights": "/no/such/file"}))
    assert from_pretrained(place).blueprint is not None


def test_mismatched_model_raises_before_allocation(
    place: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 layers of 16384 features would be 32 GB."""
    (place / CONFIG).write_text(changed(config, "blueprint.head", {"name": "mlp", "hidden": [16384] * 32}))
    real = torch.empty

    def empty(*size: Any, **options: Any) -> torch.Tensor:
        x = real(*size, **options)
        assert x.is_meta or x.numel() < 2**24
        return x

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(ValueError, match=r"model\.safetensors holds the weights of another model: Missing key"):
        from_pretrained(place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x * torch.nan, rf"not finite, in {NORM} \(16 of 16\)"),
        (lambda x: x.double() * 1e300, rf"not finite, in {NORM} \(16 of 16\)"),
        (lambda x: x[:1], f"another model: size mismatch for {NORM}"),
        (lambda _: None, f'another model: Missing key.* "{NORM}"'),
    ],
    ids=["nan", "infinite_in_float32", "shape", "missing"],
)
def test_mismatched_weights_raise(place: Path, change: Callable[[torch.Tensor], Any], message: str) -> None:
    weights = safetensors.load_file(place / WEIGHTS)
    weights[NORM] = change(weights[NORM])
    safetensors.save_file({name: x for name, x in weights.items() if x is not None}, place / WEIGHTS)
    with pytest.raises(ValueError, match=message):
        from_pretrained(place)


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_damaged_weights_raise(place: Path, content: bytes) -> None:
    (place / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        from_pretrained(place)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_missing_file_raises_with_its_name(place: Path, name: str) -> None:
    (place / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing"):
        from_pretrained(place)
