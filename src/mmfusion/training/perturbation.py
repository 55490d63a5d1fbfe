"""Perturbed starts: the same training from weights that differ by rounding alone."""

from collections.abc import Iterable

import torch
from torch import Tensor

SCALE = 1e-7
"""Standard deviation of the relative change: about the spacing of float32 numbers."""


@torch.no_grad()
def perturb(parameters: Iterable[Tensor], generator: torch.Generator) -> None:
    """Multiply each weight by ``1 + SCALE * z`` in place, z standard normal; computed in float64, then rounded.

    A weight of exactly 0 stays 0.

    Args:
        parameters: Any shape; those that are not floating-point stay as they are.
        generator: On the CPU, so that a seed means the same noise on every device.
    """
    for parameter in parameters:
        if parameter.is_floating_point():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            factor = (1 + SCALE * noise).to(parameter.device)
            parameter.copy_(parameter.double() * factor)
