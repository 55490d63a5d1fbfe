"""Run a module for its shapes alone."""

from typing import Any

import torch
from torch import nn


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
    state = {
        name: torch.empty_like(value, device="meta")
        for values in (module.named_parameters(), module.named_buffers())
        for name, value in values
    }
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            return torch.func.functional_call(module, state, args)
    finally:
        for part in training:
            part.training = True
