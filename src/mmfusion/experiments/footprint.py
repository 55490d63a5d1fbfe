"""Memory that a model needs at least, computed before it is allocated."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from mmfusion import registry
from mmfusion.backbones.base import Backbone
from mmfusion.data.free_memory import free_memory, in_words
from mmfusion.experiments.settings import Settings
from mmfusion.spec import DataSpec
from mmfusion.training.memory import OutOfMemory

_STATES = 4
"""A trained parameter, its gradient and Adam's two moments."""
_SHOWN = 3


def check_fits(settings: Settings, spec: DataSpec, device: torch.device) -> None:
    """Raise an error if weights, gradients and optimizer state do not fit into memory; activations are not counted.

    The model is built on the meta device for it, where nothing is allocated and no random number is drawn.

    Args:
        settings: The section ``model``, the model's name and ``train.freeze`` are used.
        spec: What the data are.
        device: Where it will train.

    Raises:
        OutOfMemory: If they do not; names the largest part of the model and the largest options.
        ValueError: As the model's builder does.
    """
    free = free_memory(device)
    model = None if free is None else _without_numbers(settings, spec)
    if free is None or model is None:
        return
    needed = n_bytes(model, frozen=settings.train.freeze != "none")
    if needed <= free:
        return
    raise OutOfMemory(
        f"model {settings.run.model!r} has {sum(p.numel() for p in model.parameters()):,} parameters: with gradients "
        f"and the optimizer's state they take {in_words(needed)}, and {in_words(free)} are free on {device}. Its "
        f"largest part is {_largest(model)}; make the largest options smaller: {_options(settings)}"
    )


def n_bytes(model: nn.Module, *, frozen: bool = False) -> int:
    """What the parameters of a model take in training with Adam, in float32.

    Args:
        model: On any device.
        frozen: Whether parameters of encoders may not be trained, and are counted once.
    """
    encoders = {
        id(parameter)
        for part in model.modules()
        if frozen and isinstance(part, Backbone)
        for parameter in part.parameters()
    }
    return sum(
        parameter.numel() * parameter.element_size() * (1 if id(parameter) in encoders else _STATES)
        for parameter in model.parameters()
    )


def _without_numbers(settings: Settings, spec: DataSpec) -> nn.Module | None:
    """The model on the meta device; None where it, a plug-in's for example, cannot be built there."""
    options = dict(settings.model)
    if "weights" in registry.models.options(settings.run.model):
        options["weights"] = "none"
    try:
        with torch.device("meta"):
            model: nn.Module = registry.models.create(settings.run.model, spec, **options)
    except (NotImplementedError, RuntimeError):  # torch has no meta kernel for an operation of it
        return None
    return None if any(map(is_lazy, model.parameters())) else model


def _largest(model: nn.Module) -> str:
    leaves = {
        name: sum(parameter.numel() for parameter in part.parameters(recurse=False))
        for name, part in model.named_modules()
    }
    name = max(leaves, key=lambda module: leaves[module])
    return f"{name} ({leaves[name]:,} parameters)"


def _options(settings: Settings) -> str:
    """The options that count something, the largest first; defaults too."""
    known = registry.models.options(settings.run.model)
    values: Mapping[str, Any] = {name: parameter.default for name, parameter in known.items()} | settings.model
    sizes = {name: max(counts) for name, value in values.items() if (counts := _sizes(value))}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_SHOWN]
    return ", ".join(f"model.{name}={values[name]!r}" for name in largest) or "there are none"


def _sizes(value: Any) -> list[int]:
    entries = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else [value]
    return [entry for entry in entries if type(entry) is int and entry > 1]
