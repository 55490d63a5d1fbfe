"""Regions of images, and images without their content."""

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.option_checks import checked
from mmfusion.options import Range
from mmfusion.utils.optional import need

Baseline = Literal["blur", "mean", "zero"]


def grid_regions(size: tuple[int, ...], cells: int | tuple[int, ...]) -> Tensor:
    """Boxes of nearly equal size.

    Args:
        size: Of the image.
        cells: Boxes along each axis, or one number for all.

    Returns:
        The number of each position's region, shape ``size`` int64.

    Raises:
        ValueError: If an axis has fewer positions than boxes, or there is another number of axes.
    """
    cells = (cells,) * len(size) if isinstance(cells, int) else tuple(cells)
    if len(cells) != len(size) or not all(1 <= n <= length for n, length in zip(cells, size, strict=True)):
        raise ValueError(f"cells expects 1 to {size} boxes along each axis, got {cells}")
    regions = torch.zeros(size, dtype=torch.int64)
    for axis, (n, length) in enumerate(zip(cells, size, strict=True)):
        along = torch.arange(length) * n // length
        regions = regions * n + along.view(-1, *(1,) * (len(size) - 1 - axis))
    return regions


@checked
def superpixels(image: Tensor, n: Annotated[int, Range(1)], *, compactness: float = 0.1) -> Tensor:
    """Regions that follow the image, about ``n`` (SLIC, Achanta et al., 2012; of scikit-image, extra ``explain``).

    Args:
        image: Shape ``(channels, *size)``, 2D or 3D.
        n: Regions.
        compactness: How much closeness counts against likeness of values, which are scaled to [0, 1].

    Returns:
        The number of each position's region, shape ``size`` int64.

    Raises:
        ImportError: Without scikit-image.
        ValueError: If no region is asked for, or the image has NaN.
    """
    slic = need("skimage.segmentation", "explain").slic
    x = image.detach().double().cpu()
    low, high = x.amin(), x.amax()
    pixels = ((x - low) / (high - low).clamp(min=1e-12)).movedim(0, -1).numpy()
    return torch.from_numpy(slic(pixels, n_segments=n, compactness=compactness, channel_axis=-1, start_label=0)).long()


@checked
def without_content(x: Tensor, baseline: Baseline | Tensor = "blur") -> Tensor:
    """Images that tell nothing, for regions that are taken away.

    Args:
        x: Shape ``(b, channels, *size)``, floating point.
        baseline: ``"blur"``, a Gaussian of an eighth of each axis; ``"mean"``, of each channel and image; ``"zero"``;
            or images of one's own, of a shape that broadcasts.

    Returns:
        The shape of ``x``.

    Raises:
        ValueError: If the baseline is unknown, or its shape does not broadcast to that of ``x``.
    """
    if isinstance(baseline, Tensor):
        try:
            return baseline.to(x).expand_as(x)
        except RuntimeError as error:
            shapes = f"{tuple(x.shape)}, got {tuple(baseline.shape)}"
            raise ValueError(f"baseline expects a shape that broadcasts to that of the images, {shapes}") from error
    axes = tuple(range(2, x.ndim))
    if baseline == "blur":
        for axis in axes:
            x = _blurred(x, axis, x.shape[axis] / 8)
        return x
    return x.mean(axes, keepdim=True).expand_as(x) if baseline == "mean" else torch.zeros_like(x)


def _blurred(x: Tensor, axis: int, sigma: float) -> Tensor:
    """Along one axis; what lies outside is as the border."""
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype) / sigma) ** 2)
    lines = x.movedim(axis, -1)
    padded = F.pad(lines.flatten(0, -2).unsqueeze(1), (radius, radius), mode="replicate")
    return F.conv1d(padded, (kernel / kernel.sum()).view(1, 1, -1)).view(lines.shape).movedim(-1, axis)
