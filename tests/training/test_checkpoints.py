from pathlib import Path

import pytest
import torch
from torch import nn

from mmfusion.training import checkpoints


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    shared = torch.arange(6.0).view(2, 3)
    tensors = {"a": shared, "b": shared.T, "c": torch.tensor(3), "d": torch.ones(2, dtype=torch.bfloat16)}
    checkpoints.save(path, tensors, {"epoch": 3, "note": "ä"})
    found, about = checkpoints.load(path)
    assert {name: value.dtype for name, value in found.items()} == {name: v.dtype for name, v in tensors.items()}
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert about == {"format": checkpoints.FORMAT, "epoch": 3, "note": "ä"}


def test_missing_or_invalid_checkpoint_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*a\.safetensors"):
        checkpoints.load(path)
    path.write_bytes(b"pickled, perhaps")
    with pytest.raises(ValueError, match=r"a\.safetensors is not a checkpoint of mmfusion"):
        checkpoints.load(path)
    checkpoints.save(path, {"a": torch.ones(1)}, {"format": checkpoints.FORMAT + 1})
    with pytest.raises(ValueError, match="use the version that wrote it"):
        checkpoints.load(path)
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of mmfusion"):
        checkpoints.load(path)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_optimizer_state_round_trip(tmp_path: Path, kind: type[torch.optim.Optimizer]) -> None:
    def made() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        return layer, kind(layer.parameters(), lr=0.1, **options)

    def step(layer: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        layer(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    layer, optimizer = made()
    step(layer, optimizer)
    tensors, scalars = checkpoints.pack_optimizer(optimizer)
    checkpoints.save(tmp_path / "a", checkpoints.prefixed("o", tensors) | {"m.w": layer.weight, "m.b": layer.bias}, {})
    step(layer, optimizer)

    loaded, _ = checkpoints.load(tmp_path / "a")
    again, other = made()
    again.load_state_dict({"weight": loaded["m.w"], "bias": loaded["m.b"]})
    checkpoints.unpack_optimizer(other, checkpoints.under("o", loaded), scalars)
    step(again, other)
    assert torch.equal(again.weight, layer.weight)
    assert torch.equal(again.bias, layer.bias)


def test_names_split_at_first_dot_only() -> None:
    tensors = {"a.b": torch.ones(1), "ab": torch.zeros(1)}
    packed = checkpoints.prefixed("model", tensors) | {"modelled.x": torch.ones(1)}
    assert checkpoints.under("model", packed) == tensors
