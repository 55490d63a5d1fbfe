"""Shapes without numbers: when they must not depend on values, and a module run for them alone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def is_static(device: torch.device) -> bool:
    """Whether shapes must not depend on values: under compile and export, and on the meta device."""
    return torch.compiler.is_compiling() or device.type == "meta"


class _Call(nn.Module):
    """A method of a module as the forward of another."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, *args: Any) -> Any:
        return getattr(self.module, self.method)(*args)


def run_on_meta(
    module: nn.Module, *args: Any, method: str = "forward", parameters: Mapping[str, Tensor] | None = None
) -> Any:
    """Call a module on the meta device: shapes and dtypes are right, nothing is computed or allocated.

    The module itself stays where it is, untouched: its parameters and buffers are stood in for.

    Args:
        module: Any module.
        args: Its arguments, tensors on the meta device.
        method: What is called.
        parameters: On the meta device, in the place of the module's, for a graph: it then runs in training mode, as in
            evaluation mode some networks keep what they made from their parameters. None: it runs without a graph in
            evaluation mode, where a batch of 1 is defined.

    Returns:
        What the module returns, on the meta device.
    """
    by_name = dict(module.named_parameters(remove_duplicate=False))
    stand_in = {id(by_name[name]): value for name, value in (parameters or {}).items()}
    state: dict[str, Tensor] = {}
    # One name for each place that holds a tensor: a module that is reached under two names would be given back the
    # stand-in of the first when the second is undone. A tensor in two places stays one.
    for path, part in module.named_modules(prefix="module"):
        for name, value in (*part._parameters.items(), *part._buffers.items()):
            if value is not None:
                state[f"{path}.{name}"] = stand_in.setdefault(id(value), torch.empty_like(value, device="meta"))
    modes = {part: part.training for part in module.modules()}
    for part in modes:
        part.training = parameters is not None
    try:
        with torch.set_grad_enabled(parameters is not None):
            return torch.func.functional_call(_Call(module, method), state, args, tie_weights=False)
    finally:
        for part, mode in modes.items():
            part.training = mode
