"""Random maps of the same kind as a heat map: as smooth, with the same values, elsewhere.

A smooth map removes an image in patches, a rough one pixel by pixel, and a model answers the two differently. So a map
is compared with maps of its own smoothness: random fields with the amplitudes of its Fourier transform and random
phases (Theiler et al., 1992), continued as a mirror image beyond the border, so that it is no edge. The field's largest
value becomes the map's largest, and so on down.
"""

import torch
from torch import Tensor


def random_fields(heat: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Random fields as smooth as a map.

    Args:
        heat: One map, shape ``size``; a constant one has no smoothness, its fields are noise.
        n: Number of fields.
        generator: On the CPU.

    Returns:
        Shape ``(n, *size)`` float64.
    """
    mirrored = heat.double() - heat.double().mean()
    for axis in range(heat.ndim):
        mirrored = torch.cat([mirrored, mirrored.flip(axis)], axis)
    inside = tuple(slice(length) for length in heat.shape)
    if is_constant(heat):
        return torch.randn((n, *heat.shape), generator=generator, dtype=torch.float64)
    amplitude = torch.fft.fftn(mirrored).abs()
    fields = []
    for _ in range(n):
        noise = torch.fft.fftn(torch.randn(mirrored.shape, generator=generator, dtype=torch.float64))
        fields.append(torch.fft.ifftn(amplitude * torch.sgn(noise)).real[inside])
    return torch.stack(fields)


def ranks(heat: Tensor, field: Tensor) -> Tensor:
    """The place of each position when they are taken from the hottest to the coldest, equal ones by a random field.

    Args:
        heat: Shape ``size``.
        field: Shape ``size``.

    Returns:
        Shape ``size`` int64, from 0.
    """
    by_field = field.flatten().argsort(descending=True, stable=True)
    order = by_field[heat.flatten()[by_field].argsort(descending=True, stable=True)]
    places = torch.empty_like(order)
    places[order] = torch.arange(len(order))
    return places.view(heat.shape)


def with_values_of(heat: Tensor, places: Tensor) -> Tensor:
    """A map with the values of another, the largest where ``places`` is 0; both of shape ``size``."""
    return heat.flatten().sort(descending=True).values[places]


def is_constant(heat: Tensor) -> bool:
    """Whether a map has one value everywhere."""
    return bool(heat.max() == heat.min())
