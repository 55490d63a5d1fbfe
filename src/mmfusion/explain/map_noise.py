"""Sensitivity of heat maps to noise in their image: Yeh et al., 2019, On the (In)fidelity and Sensitivity.

NOTE[DIFF]: the noise is in units of the image's standard deviation, so that photographs and volumes are treated alike;
noisy pixels stay between the image's least and greatest; and the change is relative to the map. The maximum is over a
few draws, a lower bound of the maximum over all.
"""

import torch
from torch import Tensor


def noisy(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Images with uniform noise.

    Args:
        x: Shape ``(b, channels, *size)``.
        noise: Greatest change of a pixel, in standard deviations of each image.
        generator: On the CPU.

    Returns:
        The shape of ``x``, within each image's range.
    """
    axes = tuple(range(1, x.ndim))
    reach = noise * x.flatten(1).std(1, unbiased=False).view(-1, *(1,) * (x.ndim - 1))
    drawn = torch.rand(x.shape, generator=generator, dtype=torch.float64).to(x) * 2 - 1
    return (x + reach * drawn).clamp(x.amin(axes, keepdim=True), x.amax(axes, keepdim=True))


def relative_change(heat: Tensor, other: Tensor) -> Tensor:
    """The norm of the difference of maps, by that of the first.

    Args:
        heat: Shape ``(b, *size)`` float64.
        other: Likewise.

    Returns:
        Shape ``(b,)``. A map of zeros that stays one changes by 0, and by 1 if it does not.
    """
    change, size = (heat - other).flatten(1).norm(dim=1), heat.flatten(1).norm(dim=1)
    return torch.where(size > 0, change / size.where(size > 0, 1.0), (change > 0).double())
