"""Augmentation of pixel values: colors of photographs, intensities of scans, noise.

Functions take images ``(b, channels, *spatial)`` in float32 or float64 and one number per case, ``(b,)`` on the CPU,
and return new images. Cases do not affect each other.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.data.transforms.random_streams import per_case

# ITU-R BT.601: weights of brightness.
_LUMA = (0.299, 0.587, 0.114)
# The two color differences of the same standard (YIQ).
_CHROMA = ((0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def saturation(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from grey by a factor; images without three channels are not changed."""
    if image.shape[1] != 3:
        return image
    grey = (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return torch.lerp(grey, image, per_case(factor, image))


def hue(image: Tensor, turns: Tensor) -> Tensor:
    """Rotate colors about the grey axis at equal brightness; images without three channels are not changed.

    In YIQ instead of HSV, where the rotation is linear: one product per batch. Pure colors differ by some degrees.

    Args:
        image: Color images.
        turns: Rotation in full circles.
    """
    if image.shape[1] != 3:
        return image
    to_yiq = torch.tensor([_LUMA, *_CHROMA], dtype=torch.float64)
    cos, sin = torch.cos(2 * math.pi * turns.double()), torch.sin(2 * math.pi * turns.double())
    turned = torch.eye(3, dtype=torch.float64).repeat(len(turns), 1, 1)
    turned[:, 1, 1], turned[:, 1, 2], turned[:, 2, 1], turned[:, 2, 2] = cos, -sin, sin, cos
    whole = (torch.linalg.inv(to_yiq) @ turned @ to_yiq).to(image)
    turned_image: Tensor = whole @ image.flatten(2)
    return turned_image.view_as(image)


def contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance from the image's mean by a factor."""
    mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)
    return torch.lerp(mean, image, per_case(factor, image))


def brightness(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply all values by a factor."""
    return image * per_case(factor, image)


def gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """Scale each channel to [0, 1], raise it to a power, and scale it back: its smallest and largest value are kept.

    A constant channel is not changed.
    """
    low, high = _range(image)
    span = torch.where(high > low, high - low, 1.0)
    bent = ((image - low) / span).clamp(min=0) ** per_case(exponent, image)
    return torch.where(high > low, low + span * bent, image)


def bias_field(image: Tensor, nodes: Tensor) -> Tensor:
    """Multiply each channel's distance from its smallest value by ``exp`` of a smooth field, as of a scanner's coil.

    Args:
        image: Scans.
        nodes: Shape ``(b, 4, 4)`` or ``(b, 4, 4, 4)``: the field on a coarse grid, interpolated (multi)linearly.
    """
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    field = F.interpolate(nodes.unsqueeze(1).to(image), size=image.shape[2:], mode=mode, align_corners=True)
    low, _ = _range(image)
    return low + (image - low) * field.exp()


def gain(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply all values by a factor."""
    return image * per_case(factor, image)


def shift(image: Tensor, deviations: Tensor) -> Tensor:
    """Add a multiple of the image's standard deviation to all values."""
    deviation = image.std(dim=tuple(range(1, image.ndim)), keepdim=True, correction=0)
    return image + per_case(deviations, image) * deviation


def noise(image: Tensor, deviation: Tensor, seed: int) -> Tensor:
    """Add Gaussian noise, with one standard deviation per case.

    Noise is drawn on the image's device: for volumes it would be the slowest part of a step on the CPU. So the same
    seed gives the same noise only on devices of one kind.
    """
    generator = torch.Generator(image.device).manual_seed(seed)
    drawn = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return image + per_case(deviation, image) * drawn


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each channel, shape ``(b, channels, 1, ..., 1)``."""
    axes = tuple(range(2, image.ndim))
    return image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
