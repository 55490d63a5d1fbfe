"""Geometric augmentation: flips, and affine maps in one resampling; erasing."""

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.data.transforms.random_streams import Streams, per_case, uniform

Padding = Literal["reflection", "border", "zeros"]


@dataclass(frozen=True)
class Strengths:
    """Strengths of the geometric augmentation; see :class:`~mmfusion.data.transforms.augment.Augment`.

    Attributes:
        flips: Axes that may be flipped, negative ones counted from the last; None: all.
        rotate: Degrees.
        scale: Relative.
        translate: Share of an axis.
        shear: Degrees.
        crop: Share of the area or volume.
        aspect: Relative.
        plane: The two axes of a volume in which rotation, shear and aspect act.
    """

    flips: tuple[int, ...] | None
    rotate: float
    scale: float
    translate: float
    shear: float
    crop: float
    aspect: float
    plane: tuple[int, int]

    @property
    def resamples(self) -> bool:
        """Whether images are resampled, not only flipped."""
        return self.through or max(self.rotate, self.shear, self.aspect) > 0

    @property
    def through(self) -> bool:
        """Whether a volume also changes across its plane."""
        return max(self.scale, self.translate, self.crop) > 0


@dataclass(frozen=True)
class Geometry:
    """The drawn geometry of a batch, on the CPU.

    Attributes:
        flip: Shape ``(b, 3)`` bool, one per axis in the tensor's order.
        angle: Shape ``(b,)``, radians.
        zoom: Shape ``(b,)``.
        shift: Shape ``(b, 3)``, shares of the axes.
        slant: Shape ``(b,)``, tangent of the shear.
        stretch: Shape ``(b,)``, logarithm of the aspect ratio.
        kept: Shape ``(b,)``, share of the area or volume that a crop keeps.
        place: Shape ``(b, 3)``, from -1 to 1: position of the crop.
    """

    flip: Tensor
    angle: Tensor
    zoom: Tensor
    shift: Tensor
    slant: Tensor
    stretch: Tensor
    kept: Tensor
    place: Tensor

    @classmethod
    def basic(cls, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Random numbers of flips, rotation and zoom, drawn even if unused: ``(n, 3)``, ``(n,)``, ``(n,)``."""
        return (
            torch.rand(n, 3, generator=generator),
            uniform(n, generator=generator),
            uniform(n, generator=generator),
        )

    def rows(self, index: Tensor) -> "Geometry":
        """That of some cases, shape ``(r,)`` int64; one may come several times."""
        return Geometry(**{entry.name: getattr(self, entry.name)[index] for entry in fields(self)})

    @classmethod
    def of(cls, strengths: Strengths, basic: tuple[Tensor, Tensor, Tensor], streams: Streams, name: str) -> "Geometry":
        """The geometry of given strengths: scales the numbers of :meth:`basic` and draws the others."""
        coin, turn, grow = basic
        n = len(turn)

        def drawn(setting: str, *shape: int) -> Tensor:
            return uniform(n, *shape, generator=streams.of(name, setting))

        return cls(
            flip=coin < 0.5,
            angle=torch.deg2rad(strengths.rotate * turn),
            zoom=1 + strengths.scale * grow,
            shift=strengths.translate * drawn("translate", 3),
            slant=torch.tan(torch.deg2rad(strengths.shear * drawn("shear"))),
            stretch=math.log1p(strengths.aspect) * drawn("aspect"),
            kept=1 - strengths.crop * (1 + drawn("crop")) / 2,
            place=drawn("crop place", 3),
        )


def warp(image: Tensor, geometry: Geometry, strengths: Strengths, *, flips: bool, padding: Padding) -> Tensor:
    """Apply a geometry to images.

    Args:
        image: Shape ``(b, channels, *spatial)``, 2D or 3D, of any floating-point type.
        geometry: The drawn geometry of each case.
        strengths: Strengths it was drawn with; a strength of 0 is not applied.
        flips: Whether images are flipped.
        padding: Values from outside the image.

    Returns:
        The same shape and dtype.

    Raises:
        ValueError: If the image lacks one of the axes.
    """
    n_axes = image.ndim - 2
    chosen = _axes(strengths.flips, n_axes) if flips else ()
    if not strengths.resamples:
        return _flip(image, geometry.flip, chosen)
    sign = torch.ones(len(image), n_axes)
    for axis in chosen:
        # A flip is an affine map, too: one resampling is enough.
        sign[:, axis] = torch.where(geometry.flip[:, axis], -1.0, 1.0)
    # Half precision has too few digits for positions of pixels.
    work = image if image.dtype in (torch.float32, torch.float64) else image.float()
    theta = _theta(geometry, strengths, sign, tuple(image.shape[2:])).to(work)
    if n_axes == 2 or strengths.through:
        return _sampled(work, theta, padding).to(image.dtype)
    # If slices stay slices they are treated as channels of one plane, which is several times faster.
    (depth,) = set(range(3)) - set(_axes(strengths.plane, 3))
    slices = _flip(work, geometry.flip, (depth,) if depth in chosen else ()).movedim(depth + 2, 2)
    kept = [2 - axis for axis in (2, 1, 0) if axis != depth]
    plane = _sampled(slices.flatten(1, 2), theta[:, kept][:, :, [*kept, 3]], padding)
    return plane.view_as(slices).movedim(2, depth + 2).to(image.dtype)


def _sampled(image: Tensor, theta: Tensor, padding: Padding) -> Tensor:
    grid = F.affine_grid(theta, list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _axes(axes: tuple[int, ...] | None, n_axes: int) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(n_axes))
    if wrong := [axis for axis in axes if not -n_axes <= axis < n_axes]:
        raise ValueError(
            f"train.augment has the axes {wrong}, but the image has {n_axes} spatial axes: count from 0, or from -1 "
            "backwards"
        )
    return tuple(axis % n_axes for axis in axes)


def _flip(image: Tensor, flip: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Flip each case along the axes drawn for it."""
    for axis in axes:
        chosen = flip[:, axis].to(image.device).view(-1, *[1] * (image.ndim - 1))
        image = torch.where(chosen, image.flip(axis + 2), image)
    return image


def _theta(geometry: Geometry, strengths: Strengths, sign: Tensor, size: tuple[int, ...]) -> Tensor:
    """Affine maps from output to input positions for ``affine_grid``, shape ``(b, d, d + 1)``.

    Positions are rotated, sheared and zoomed about the center, in pixels, so that lengths are kept in images that are
    not square; then flipped, shifted, and placed into the crop.
    """
    n_axes = len(size)
    rows, columns = _axes(strengths.plane, n_axes) if n_axes == 3 else (0, 1)
    linear = _linear(geometry, strengths, n_axes, rows, columns)
    # Units of affine_grid are half the length of each axis.
    ratio = torch.tensor([[inner / outer for inner in size] for outer in size])
    window = _window(geometry, strengths, n_axes, rows, columns)
    linear = window.unsqueeze(2) * (sign.unsqueeze(2) * linear * ratio)
    offset = window * 2 * geometry.shift[:, :n_axes] + (1 - window) * geometry.place[:, :n_axes]
    # affine_grid has the last axis first.
    return torch.cat([linear.flip(1, 2), offset.flip(1).unsqueeze(2)], dim=2)


def _linear(geometry: Geometry, strengths: Strengths, n_axes: int, rows: int, columns: int) -> Tensor:
    """Rotation, shear and zoom from output to input, in pixels, shape ``(b, d, d)``."""
    cos, sin = torch.cos(geometry.angle) / geometry.zoom, torch.sin(geometry.angle) / geometry.zoom
    linear = torch.diag_embed((1 / geometry.zoom).unsqueeze(1).expand(-1, n_axes)).clone()
    linear[:, rows, rows], linear[:, rows, columns] = cos, sin
    linear[:, columns, rows], linear[:, columns, columns] = -sin, cos
    if strengths.shear > 0:
        shear = torch.eye(n_axes).repeat(len(cos), 1, 1)
        shear[:, columns, rows] = geometry.slant
        linear = linear @ shear
    return linear


def _window(geometry: Geometry, strengths: Strengths, n_axes: int, rows: int, columns: int) -> Tensor:
    """Visible share of each axis, shape ``(b, d)``: the crop, and the aspect ratio of the plane."""
    window = geometry.kept.pow(1 / n_axes).unsqueeze(1).repeat(1, n_axes)
    if strengths.aspect > 0:
        half = torch.exp(geometry.stretch / 2)
        window[:, rows], window[:, columns] = window[:, rows] / half, window[:, columns] * half
        window = window.clamp(max=1)
    return window


def erased(image: Tensor, chosen: Tensor, share: Tensor, stretch: Tensor, place: Tensor) -> Tensor:
    """Fill a box of some images with the mean of each channel.

    Args:
        image: Shape ``(b, channels, *spatial)``.
        chosen: Shape ``(b,)`` bool; True for images with a box.
        share: Shape ``(b,)``, the box's share of the image, above 0.
        stretch: Shape ``(b, 3)``, log ratios of its sides to those of a cube.
        place: Shape ``(b, 3)``, from -1 to 1, position of the box.

    Returns:
        The same shape and dtype.
    """
    n_axes = image.ndim - 2
    stretch = stretch[:, :n_axes] - stretch[:, :n_axes].mean(dim=1, keepdim=True)
    sides = (share.pow(1 / n_axes).unsqueeze(1) * stretch.exp()).clamp(max=1)
    starts = (1 - sides) * (1 + place[:, :n_axes]) / 2
    inside = per_case(chosen.float(), image) > 0
    for axis, length in enumerate(image.shape[2:]):
        middle = (torch.arange(length, device=image.device) + 0.5) / length
        low = starts[:, axis].to(image.device).unsqueeze(1)
        high = low + sides[:, axis].to(image.device).unsqueeze(1)
        in_box = (middle >= low) & (middle < high)
        shape = [len(image), 1, *[1] * n_axes]
        shape[axis + 2] = length
        inside = inside & in_box.view(shape)
    filling = image.mean(dim=tuple(range(2, image.ndim)), keepdim=True, dtype=torch.float32)
    return torch.where(inside, filling.to(image.dtype), image)
