"""Shapes without numbers: when they must not depend on values, and a module run for them alone."""

from typing import Any

import torch
from torch import Tensor, nn


def is_static(device: torch.device) -> bool:
    """Whether shapes must not depend on values: under compile and export, and on the meta device."""
    return torch.compiler.is_compiling() or device.type == "meta"


def run_on_meta(module: nn.Module, *args: Any) -> Any:
    """Call a module on the meta device: shapes and dtypes are right, nothing is computed or allocated.

    The module itself stays where it is, untouched: its parameters and buffers are stood in for. It runs in
    evaluation mode, where a batch of 1 is defined.

    Args:
        module: Any module.
        args: Its arguments, tensors on the meta device.

    Returns:
        What the module returns, on the meta device.
    """
    stand_in: dict[int, Tensor] = {}
    state: dict[str, Tensor] = {}
    # One name for each place that holds a tensor: a module that is reached under two names would be given back the
    # stand-in of the first when the second is undone. A tensor in two places stays one.
    for path, part in module.named_modules():
        for name, value in (*part._parameters.items(), *part._buffers.items()):
            if value is not None:
                meta = stand_in.setdefault(id(value), torch.empty_like(value, device="meta"))
                state[f"{path}.{name}" if path else name] = meta
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            return torch.func.functional_call(module, state, args, tie_weights=False)
    finally:
        for part in training:
            part.training = True
