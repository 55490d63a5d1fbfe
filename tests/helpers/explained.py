"""Models and batches for explanations, and what an explanation must leave as it was."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor

import mmfusion as mmf
from helpers.small import make_inputs, make_spec
from mmfusion.models import FusionModel
from mmfusion.tokens import Inputs, Table


@cache
def small_model(name: str = "concat", **options: Any) -> FusionModel:
    """One image of 16x16 and a table; built once."""
    layout = {key: options.pop(key) for key in ("images", "tables", "size") if key in options}
    torch.manual_seed(0)
    return mmf.create_model(name, make_spec(**layout), dim=8, **options).eval()


def batch_for(model: FusionModel, n: int = 3, **options: Any) -> Inputs:
    assert model.spec is not None
    return make_inputs(model.spec, n, **options)


def image_of(inputs: Inputs, name: str = "image0") -> Tensor:
    """An image's pixels."""
    image = inputs[name]
    assert isinstance(image, Tensor)
    return image


def table_of(inputs: Inputs, name: str = "table0") -> Table:
    """A table's cells."""
    table = inputs[name]
    assert isinstance(table, Table)
    return table


@contextmanager
def left_as_it_was(model: FusionModel) -> Iterator[None]:
    """Modes, flags, gradients, weights, hooks and random state are what they were before."""
    before = _state(model)
    yield
    after = _state(model)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert torch.equal(value, after[key]) if isinstance(value, torch.Tensor) else value == after[key], key


def _state(model: FusionModel) -> Mapping[str, Any]:
    state: dict[str, Any] = {key: value.clone() for key, value in model.state_dict().items()}
    state |= {f"{key}.requires_grad": (p.requires_grad, p.grad is None) for key, p in model.named_parameters()}
    for path, part in model.named_modules():
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        state[f"{path}.mode"] = (part.training, *map(len, hooks))
        state[f"{path}.names"] = sorted(key for key in vars(part) if not key.startswith("__"))
    return state | {"random": torch.random.get_rng_state(), "gradients": torch.is_grad_enabled()}
