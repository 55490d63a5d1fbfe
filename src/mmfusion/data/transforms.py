"""Random changes of whole batches of images, on the batch's own device."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.data.cases import Cases

# ITU-R BT.601: what a colour's brightness is made of.
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Augment:
    """Flips, turns, zooms and colour changes, drawn anew for each case and each image modality.

    Called with a batch and a CPU generator, returns the changed batch; the batch given is left as it was. Tables are
    not touched. All strengths at 0 and no flips: the batch comes back as it is. Images of three spatial axes are
    flipped only.

    Attributes:
        flips: Flip along each spatial axis with probability one half.
        rotate: Largest turn either way, in degrees, from 0 to 180.
        scale: Largest relative zoom either way: 0.1 draws from 0.9 to 1.1. From 0 to below 1.
        brightness: Largest relative change of all values, from 0 to 1.
        contrast: Largest relative change of the distance from the image's mean, from 0 to 1.
        saturation: Largest relative change of the distance from grey, from 0 to 1; colour images only.
        joint: The same flips, turn and zoom for all image modalities of a case, for images that lie on each other.
        padding: What a turn or zoom brings in from outside: "reflection", "border" or "zeros".
    """

    flips: bool = False
    rotate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    joint: bool = False
    padding: Literal["reflection", "border", "zeros"] = "reflection"

    def __post_init__(self) -> None:
        limits = {"rotate": 180.0, "scale": 0.99, "brightness": 1.0, "contrast": 1.0, "saturation": 1.0}
        for name, most in limits.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"Augment expects {name} from 0 to {most:g}, got {getattr(self, name)}")
        if self.padding not in ("reflection", "border", "zeros"):
            raise ValueError(f"Augment expects padding 'reflection', 'border' or 'zeros', got {self.padding!r}")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Augment":
        """From a recipe's section.

        Raises:
            ValueError: If a setting is unknown, or out of its range.
        """
        valid = [field.name for field in fields(cls)]
        unknown = sorted(set(settings) - set(valid))
        if unknown:
            raise ValueError(f"unknown augmentation {', '.join(map(repr, unknown))}; valid: {', '.join(valid)}")
        return cls(**settings)

    @property
    def idle(self) -> bool:
        """True if nothing would be changed."""
        return not (self.flips or self._turns or self._colours)

    @property
    def _turns(self) -> bool:
        return self.rotate > 0 or self.scale > 0

    @property
    def _colours(self) -> bool:
        return self.brightness > 0 or self.contrast > 0 or self.saturation > 0

    def __call__(self, cases: Cases, generator: torch.Generator) -> Cases:
        """Change a batch.

        Args:
            cases: With a batch axis; images ``(b, channels, *spatial)`` float in [0, 1].
            generator: On the CPU, whatever the batch's device, so that a seed means the same everywhere.

        Returns:
            The batch with new images, in [0, 1].
        """
        if self.idle:
            return cases
        inputs = dict(cases.inputs)
        shared: _Geometry | None = None
        for name, image in cases.inputs.items():
            if not isinstance(image, Tensor):
                continue
            if shared is None or not self.joint:
                shared = _Geometry.draw(self, len(image), generator)
            inputs[name] = self._image(image, shared, generator)
        return cases._replace(inputs=inputs)

    def _image(self, image: Tensor, geometry: "_Geometry", generator: torch.Generator) -> Tensor:
        flat = image.ndim == 4
        if flat and self._turns:
            # A flip is an affine map too: one resampling does all.
            image = _affine(image, geometry, self.padding)
        elif self.flips:
            image = _flip(image, geometry.flip)
        if flat and self._colours:
            image = self._recolour(image, generator)
        return image

    def _recolour(self, image: Tensor, generator: torch.Generator) -> Tensor:
        def factor(strength: float) -> Tensor:
            drawn = 1 + strength * (2 * torch.rand(len(image), 1, 1, 1, generator=generator) - 1)
            return drawn.to(image)

        if self.saturation > 0 and image.shape[1] == 3:
            grey = (image * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
            image = torch.lerp(grey, image, factor(self.saturation))
        if self.contrast > 0:
            image = torch.lerp(image.mean(dim=(1, 2, 3), keepdim=True), image, factor(self.contrast))
        if self.brightness > 0:
            image = image * factor(self.brightness)
        return image.clamp(0, 1)


@dataclass(frozen=True)
class _Geometry:
    """Drawn parameters, on the CPU: ``flip (b, 3)`` bool (one for each axis, height first), the others ``(b,)``."""

    flip: Tensor
    angle: Tensor
    zoom: Tensor

    @classmethod
    def draw(cls, augment: Augment, n: int, generator: torch.Generator) -> "_Geometry":
        # All are drawn always, so that one setting's value does not shift another's random numbers.
        flip = torch.rand(n, 3, generator=generator) < (0.5 if augment.flips else 0.0)
        angle = torch.deg2rad(augment.rotate * (2 * torch.rand(n, generator=generator) - 1))
        zoom = 1 + augment.scale * (2 * torch.rand(n, generator=generator) - 1)
        return cls(flip, angle, zoom)


def _flip(image: Tensor, flip: Tensor) -> Tensor:
    """Flip each case along its own choice of axes."""
    for axis in range(image.ndim - 2):
        chosen = flip[:, axis].to(image.device).view(-1, *[1] * (image.ndim - 1))
        image = torch.where(chosen, image.flip(axis + 2), image)
    return image


def _affine(image: Tensor, geometry: _Geometry, padding: str) -> Tensor:
    """Flip, turn and zoom by one bilinear resampling; lengths are kept in images that are not square."""
    height, width = image.shape[2:]
    sign = torch.where(geometry.flip[:, :2], -1.0, 1.0)
    cos, sin = torch.cos(geometry.angle) / geometry.zoom, torch.sin(geometry.angle) / geometry.zoom
    zero = torch.zeros_like(cos)
    # affine_grid works in units of half the width and half the height, so a turn needs their ratio.
    theta = torch.stack(
        [
            torch.stack([sign[:, 1] * cos, -sign[:, 1] * sin * (height / width), zero], dim=1),
            torch.stack([sign[:, 0] * sin * (width / height), sign[:, 0] * cos, zero], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta.to(image), list(image.shape), align_corners=False)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)
