"""Checkpoints: safetensors with JSON in the header, never pickle; written whole or not at all.

They hold weights and how the training went, nothing of the data: no column, no category, no path.
``best.safetensors`` holds the weights that validation chose. ``last.safetensors`` holds all that the next epoch needs:
weights, optimizer, and what happened so far. Random states are not among it: everything random is seeded anew at each
epoch, from the seed and the epoch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmfusion.training.result_files import parse_json, write_bytes
from mmfusion.utils.finite import require_finite
from mmfusion.utils.optional import need

FORMAT = 1
"""Version of the run folder's format; raised when an older package could not read a newer folder."""

BEST = "best.safetensors"
LAST = "last.safetensors"


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header.

    Args:
        path: The file; replaced in one step.
        tensors: By name, on any device; copied, so two names may share their memory.
        about: JSON-able; must be finite.

    Raises:
        WriteError: If it cannot be written; a former file stays whole.
    """
    safetensors = need("safetensors.torch", "bench")
    ready = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    header = {"mmfusion": json.dumps({"format": FORMAT, **about}, allow_nan=False)}
    write_bytes(path, safetensors.save(ready, header))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save` wrote.

    Returns:
        Tensors on the CPU, and the header.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not such a file, or of a newer format.
    """
    safetensors = need("safetensors", "bench")
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = parse_json((file.metadata() or {})["mmfusion"])
            if not isinstance(about, dict):
                raise ValueError("its header is no object")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a checkpoint of mmfusion: {error}") from error
    check_format(path, about)
    return tensors, about


def check_format(path: Path, about: Mapping[str, Any]) -> None:
    """Raise an error for a file of a later version of the package.

    Raises:
        ValueError: Naming the file and both formats.
    """
    version = about.get("format")
    if not isinstance(version, int) or version > FORMAT:
        raise ValueError(
            f"{path} has format {version}, this version of mmfusion reads up to {FORMAT}: use the version that wrote it"
        )


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under ``prefix.name``."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`prefixed`."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer's state as tensors named ``<parameter>.<quantity>`` and, apart, what are plain numbers."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            (tensors if isinstance(value, Tensor) else scalars)[f"{index}.{key}"] = value
    return tensors, scalars


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]
) -> None:
    """Put back what :func:`pack_optimizer` took; the groups' settings stay the optimizer's own."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **scalars}.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a model, every one of them.

    Raises:
        ValueError: If names or shapes differ, or a weight is not finite; says which file.
    """
    require_finite(weights, path, model.state_dict())
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = str(error).splitlines()
        raise ValueError(f"{path} holds the weights of another model: {' '.join(first[1:3]).strip()}") from error
