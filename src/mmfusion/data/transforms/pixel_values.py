"""What the pixels of an image are: colours of photographs, intensities of scans, noise.

All take an image ``(b, channels, *spatial)`` in float32 or float64 and one number a case, ``(b,)`` on the CPU, and give
a new image. No case looks at another.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.data.transforms.random_streams import per_case

# ITU-R BT.601: what a colour's brightness is made of.
_LUMA = (0.299, 0.587, 0.114)
# The same standard's two colour differences (YIQ), the rows below brightness.
_CHROMA = ((0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def saturation(image: Tensor, factor: Tensor) -> Tensor:
    """The distance from grey times a factor; an image without three channels stays."""
    if image.shape[1] != 3:
        return image
    grey = (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return torch.lerp(grey, image, per_case(factor, image))


def hue(image: Tensor, turns: Tensor) -> Tensor:
    """The colours turned about the grey axis, brightness kept; an image without three channels stays.

    In YIQ instead of HSV: there it is linear, one product for the batch. A pure colour's turn differs by some degrees.

    Args:
        image: Colour images.
        turns: One is a whole circle, back to where it began.
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
    """The distance from the image's mean times a factor."""
    mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)
    return torch.lerp(mean, image, per_case(factor, image))


def brightness(image: Tensor, factor: Tensor) -> Tensor:
    """All values times a factor."""
    return image * per_case(factor, image)


def gamma(image: Tensor, exponent: Tensor) -> Tensor:
    """Each channel's range to [0, 1], to a power, and back: its smallest and largest value stay.

    A channel of one value stays as it is.
    """
    low, high = _range(image)
    span = torch.where(high > low, high - low, 1.0)
    bent = ((image - low) / span).clamp(min=0) ** per_case(exponent, image)
    return torch.where(high > low, low + span * bent, image)


def bias_field(image: Tensor, nodes: Tensor) -> Tensor:
    """Brighter here and darker there: each channel's height above its smallest value times ``exp`` of a smooth field.

    Args:
        image: Scans, whose coils do not receive alike everywhere.
        nodes: Shape ``(b, 4, 4)`` or ``(b, 4, 4, 4)``: the field's values on a coarse grid, (multi)linear between.
    """
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    field = F.interpolate(nodes.unsqueeze(1).to(image), size=image.shape[2:], mode=mode, align_corners=True)
    low, _ = _range(image)
    return low + (image - low) * field.exp()


def gain(image: Tensor, factor: Tensor) -> Tensor:
    """All values times a factor."""
    return image * per_case(factor, image)


def shift(image: Tensor, deviations: Tensor) -> Tensor:
    """All values plus some of the image's own standard deviations."""
    deviation = image.std(dim=tuple(range(1, image.ndim)), keepdim=True, correction=0)
    return image + per_case(deviations, image) * deviation


def noise(image: Tensor, deviation: Tensor, seed: int) -> Tensor:
    """Gaussian noise of each case's own standard deviation, a number for each value.

    The numbers are drawn where the image is: for volumes they would be the slowest part of a step on the CPU. So a seed
    means the same noise on devices of one kind only.
    """
    generator = torch.Generator(image.device).manual_seed(seed)
    drawn = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
    return image + per_case(deviation, image) * drawn


def _range(image: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each channel, shape ``(b, channels, 1, ..., 1)``."""
    axes = tuple(range(2, image.ndim))
    return image.amin(dim=axes, keepdim=True), image.amax(dim=axes, keepdim=True)
