"""Augmentation of batches: ``[train.augment]`` in a recipe."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor

from mmfusion.data.cases import Cases
from mmfusion.data.transforms import pixel_values
from mmfusion.data.transforms.geometry import Geometry, Padding, Strengths, erased, warp
from mmfusion.data.transforms.random_streams import Streams, uniform
from mmfusion.data.transforms.table_augment import TableAugment
from mmfusion.losses.masked_columns import AUX
from mmfusion.option_checks import check_fields
from mmfusion.options import Probability, Range
from mmfusion.packed import unpack
from mmfusion.tokens import Bag, Content, Table

Axis: TypeAlias = Annotated[int, Range(-3, 2)]
Angle: TypeAlias = Annotated[float, Range(0, 180)]
ShareBelowOne: TypeAlias = Annotated[float, Range(0, 0.99)]
Log: TypeAlias = Annotated[float, Range(0, 3)]
Deviations: TypeAlias = Annotated[float, Range(0, 10)]
_NODES = 4
"""Nodes of a bias field along each axis."""
_SIDES = 0.6
"""Largest log ratio of an erased box's side to the mean side: one side may be 3.3 times another."""


@dataclass(frozen=True)
class Augment:
    """Geometry, intensity and erasing for images, corruption for cells of tables; drawn for each case.

    Called with a batch and a CPU generator, it returns a changed copy of the batch. Image modalities are drawn
    independently, and each image of a bag by itself, unless ``joint``. The random numbers of a setting do not depend on
    other settings. With all strengths 0 and no flips the batch is returned unchanged.

    Cases do not affect each other, except by cells that are taken from another case: NaN in an absent image stays
    there. Plain torch instead of torchvision, whose functions take one number per batch; here each case has its own.

    Attributes:
        flips: Flip along each spatial axis with probability one half. Instead of True, some axes: ``[0, 2]``, or from
            the last one backwards, ``[-1]``.
        rotate: Largest rotation in either direction, in degrees, from 0 to 180.
        scale: Largest relative zoom in or out, along all axes: 0.1 draws from 0.9 to 1.1. From 0 to below 1.
        translate: Largest shift in either direction along each axis, as a share of its length.
        shear: Largest shear in either direction, in degrees, from 0 to 60.
        crop: Largest share of the area (of the volume, for volumes) that is cut off; the rest fills the image. From 0
            to below 1.
        aspect: Largest relative change of the aspect ratio: 0.33 draws ratios from 3:4 to 4:3. What leaves the image is
            cut off.
        brightness: Largest relative change of all values, from 0 to 1; images of two spatial axes only.
        contrast: Largest relative change of the distance from the image's mean, from 0 to 1; likewise.
        saturation: Largest relative change of the distance from grey, from 0 to 1; color images only.
        hue: Largest rotation of the hue, from 0 to 0.5, half the circle; color images only.
        gamma: Largest relative change of the exponent of values, which are scaled to [0, 1] for it and back.
        bias: Largest logarithm of a smooth multiplicative field, as that of a scanner's coil.
        gain: Largest relative change of all values, from 0 to 1.
        shift: Largest shift of all values, in standard deviations of the image.
        noise: Largest standard deviation of Gaussian noise, in the image's units.
        erase: Probability that a box is filled with the image's mean, from 0 to 1.
        erase_area: Largest share of the image that a box covers; the smallest is a tenth of it.
        joint: The same geometry (flips to aspect) for all image modalities of a case and all images of a bag, for
            aligned images. Intensities, noise and boxes are still drawn for each.
        padding: Values from outside the image: "reflection", "border" or "zeros".
        plane: The two axes of a volume in which rotation, shear and aspect act; by default the last two.
        clamp: Clamp images of two spatial axes to [0, 1]; False for standardized images.
        table: Augmentation of the tables.
        fitted: By table modality, ``table`` with the rows that it draws from; see :meth:`fit`.
    """

    flips: bool | tuple[Axis, ...] = False
    rotate: Angle = 0.0
    scale: ShareBelowOne = 0.0
    translate: Probability = 0.0
    shear: Annotated[float, Range(0, 60)] = 0.0
    crop: ShareBelowOne = 0.0
    aspect: Log = 0.0
    brightness: Probability = 0.0
    contrast: Probability = 0.0
    saturation: Probability = 0.0
    hue: Annotated[float, Range(0, 0.5)] = 0.0
    gamma: Log = 0.0
    bias: Annotated[float, Range(0, 2)] = 0.0
    gain: Probability = 0.0
    shift: Deviations = 0.0
    noise: Deviations = 0.0
    erase: Probability = 0.0
    erase_area: Annotated[float, Range(0, 1, above=True)] = 0.2
    joint: bool = False
    padding: Padding = "reflection"
    plane: tuple[Axis, Axis] = (-2, -1)
    clamp: bool = True
    table: TableAugment = field(default_factory=TableAugment)
    fitted: Mapping[str, TableAugment] = field(init=False, default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)
        if not isinstance(self.flips, bool) and not len(self.flips) == len(set(self.flips)) > 0:
            raise ValueError(f"Augment: flips expects true, false or different axes, got {self.flips!r}")
        if len({axis % 3 for axis in self.plane}) < 2:
            raise ValueError(f"Augment: plane expects two different axes, got {self.plane!r}")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Augment":
        """From the section of a recipe.

        Raises:
            ValueError: If a setting is unknown or out of range.
        """
        return unpack(cls, settings, "augmentation")

    @property
    def idle(self) -> bool:
        """True if nothing is changed."""
        return self.images_idle and self.table.idle

    @property
    def images_idle(self) -> bool:
        """True if no image is changed."""
        return not (self.flips or self._strengths.resamples or self._revalues or self.erase > 0)

    @property
    def _strengths(self) -> Strengths:
        strengths = {setting.name: getattr(self, setting.name) for setting in fields(Strengths)}
        return Strengths(**{**strengths, "flips": None if isinstance(self.flips, bool) else self.flips})

    @property
    def _revalues(self) -> bool:
        colors = (self.brightness, self.contrast, self.saturation, self.hue)
        return max(*colors, self.gamma, self.bias, self.gain, self.shift, self.noise) > 0

    def fit(self, tables: Mapping[str, Table]) -> "Augment":
        """Set the training rows from which corrupted cells are drawn.

        Args:
            tables: By table modality, training rows in which it is present.

        Returns:
            A copy with these rows.
        """
        fitted = copy.copy(self)
        object.__setattr__(fitted, "fitted", {name: self.table.fit(rows) for name, rows in tables.items()})
        return fitted

    def __call__(self, cases: Cases, generator: torch.Generator) -> Cases:
        """Augment a batch.

        Args:
            cases: A batch; images ``(b, channels, *spatial)``, or bags of them, of any floating-point type, photographs
                in [0, 1].
            generator: On the CPU, whatever the batch's device, so that a seed gives the same everywhere; only noise
                depends on the kind of device.

        Returns:
            The batch with new images and tables. Where cells of a single table were changed, ``aux`` has the table as
            it was and which cells they are, as the term ``masked_columns`` takes them.

        Raises:
            ValueError: If ``table.corrupt`` is above 0 and :meth:`fit` was not called, or an image lacks one of
                the axes.
        """
        if self.idle:
            return cases
        images = {name: value for name, value in cases.inputs.items() if isinstance(value, Tensor)}
        bags = {name: value for name, value in cases.inputs.items() if isinstance(value, Bag)}
        images = {name: bags[name].x[bags[name].mask] if name in bags else images[name] for name in (*images, *bags)}
        basic: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        for name, image in images.items():
            first = next(iter(basic.values()), None)
            n = len(cases.position) if self.joint else len(image)
            basic[name] = first if self.joint and first is not None else Geometry.basic(n, generator)
        streams = Streams(generator)
        inputs: dict[str, Content] = dict(cases.inputs)
        if not self.images_idle:
            for name, image in images.items():
                geometry = Geometry.of(self._strengths, basic[name], streams, "" if self.joint else name)
                if name not in bags:
                    inputs[name] = self._image(image, geometry, name, streams)
                elif len(image):
                    x, mask = bags[name]
                    if self.joint:
                        geometry = geometry.rows(mask.nonzero()[:, 0].cpu())
                    changed = self._image(image, geometry, name, streams)
                    inputs[name] = Bag(torch.zeros_like(x).masked_scatter(_like(mask, x), changed), mask)
        cases = cases._replace(inputs=inputs)
        return cases if self.table.idle else self._cells(cases, streams)

    def _image(self, image: Tensor, geometry: Geometry, name: str, streams: Streams) -> Tensor:
        image = warp(image, geometry, self._strengths, flips=bool(self.flips), padding=self.padding)
        if self._revalues:
            work = image if image.dtype in (torch.float32, torch.float64) else image.float()
            image = self._revalue(work, name, streams).to(image.dtype)
        if self.erase > 0:
            n = len(image)
            chosen = torch.rand(n, generator=streams.of(name, "erase")) < self.erase
            share = self.erase_area * (0.55 + 0.45 * uniform(n, generator=streams.of(name, "erase area")))
            stretch = _SIDES * uniform(n, 3, generator=streams.of(name, "erase sides"))
            place = uniform(n, 3, generator=streams.of(name, "erase place"))
            image = erased(image, chosen, share, stretch, place)
        return image

    def _revalue(self, image: Tensor, name: str, streams: Streams) -> Tensor:
        n, flat = len(image), image.ndim == 4

        def around_one(setting: str) -> Tensor:
            strength: float = getattr(self, setting)
            return 1 + strength * uniform(n, generator=streams.of(name, setting))

        if flat and self.hue > 0:
            image = pixel_values.hue(image, self.hue * uniform(n, generator=streams.of(name, "hue")))
        if flat and self.saturation > 0:
            image = pixel_values.saturation(image, around_one("saturation"))
        if flat and self.contrast > 0:
            image = pixel_values.contrast(image, around_one("contrast"))
        if flat and self.brightness > 0:
            image = pixel_values.brightness(image, around_one("brightness"))
        if self.gamma > 0:
            power = uniform(n, generator=streams.of(name, "gamma"))
            image = pixel_values.gamma(image, (1 + self.gamma) ** power)
        if self.bias > 0:
            nodes = uniform(n, *[_NODES] * (image.ndim - 2), generator=streams.of(name, "bias"))
            image = pixel_values.bias_field(image, self.bias * nodes)
        if self.gain > 0:
            image = pixel_values.gain(image, around_one("gain"))
        if self.shift > 0:
            image = pixel_values.shift(image, self.shift * uniform(n, generator=streams.of(name, "shift")))
        if self.noise > 0:
            stream = streams.of(name, "noise")
            deviation = self.noise * torch.rand(n, generator=stream)
            image = pixel_values.noise(image, deviation, int(torch.randint(2**62, (), generator=stream)))
        return image.clamp(0, 1) if flat and self.clamp else image

    def _cells(self, cases: Cases, streams: Streams) -> Cases:
        tables = {name: value for name, value in cases.inputs.items() if isinstance(value, Table)}
        inputs, aux = dict(cases.inputs), dict(cases.aux or {})
        for name, table in tables.items():
            augment = self.fitted.get(name, self.table)
            new, changed = augment(table, streams.of(name), cases.present.get(name))
            inputs[name] = new
            if len(tables) == 1:
                aux |= dict(zip(AUX, (table.numerical, table.categorical, changed)))
        return cases._replace(inputs=inputs, aux=aux)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    return mask.view(*mask.shape, *(1,) * (x.ndim - mask.ndim))
