"""Heat inside a known region: the pointing game (Zhang et al., 2018) and the share of the heat.

NOTE[DIFF]: Zhang et al. also count a maximum within 15 pixels of the region; here it has to be inside, and equal maxima
count by the share of them that is.
"""

from torch import Tensor


def pointing(heat: Tensor, mask: Tensor) -> Tensor:
    """The share of a map's hottest positions that is inside; of a constant map the mask's area.

    Args:
        heat: Shape ``(..., *size)``.
        mask: Shape ``size`` bool.

    Returns:
        Shape ``(...)`` float64 in [0, 1], 0 or 1 where one position is hottest.
    """
    flat = heat.flatten(heat.ndim - mask.ndim)
    hottest = flat == flat.amax(-1, keepdim=True)
    return (hottest & mask.flatten()).sum(-1).double() / hottest.sum(-1)


def energy_inside(heat: Tensor, mask: Tensor) -> Tensor:
    """The share of the positive heat that is inside; of a map without any the mask's area.

    Args:
        heat: Shape ``(..., *size)``.
        mask: Shape ``size`` bool.

    Returns:
        Shape ``(...)`` float64 in [0, 1].
    """
    flat = heat.flatten(heat.ndim - mask.ndim).double().relu()
    flat = flat.where(flat.any(-1, keepdim=True), flat.new_ones(()))
    return (flat * mask.flatten()).sum(-1) / flat.sum(-1)
