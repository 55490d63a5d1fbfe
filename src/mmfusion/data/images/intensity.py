"""Intensity scaling of images whose values have no fixed range, such as MRI: clipping and standardization."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from mmfusion.data.images.rows import Rows
from mmfusion.option_checks import check_fields
from mmfusion.options import Range, Span
from mmfusion.packed import entries, unpack

Standardize = Literal["none", "image", "channel", "sequence"]
_CHUNK = 32
"""Number of images that are read together while fitting, to bound memory in double precision."""


@dataclass(frozen=True)
class Intensity:
    """Clipping and standardization of the images of one modality.

    It is part of the dataset's reader, since new cases must be treated as the training cases were; the normalization
    that pretrained weights expect is applied after it, by the backbone.

    - ``"none"``: images are only clipped. For photographs in [0, 1].
    - ``"image"``: each image to mean 0 and standard deviation 1 over all its channels and positions. For sequences
      whose scale differs between scans.
    - ``"channel"``: each channel of each image likewise; for sequences that are the channels of one image.
    - ``"sequence"``: by the mean and standard deviation of each channel over the images of the training set. Keeps
      differences between images; for quantitative maps such as ADC.

    Attributes:
        standardize: One of the four.
        clip: ``(low, high)`` to which values are clipped, in the images' units; None: no clipping.
        mean: One per channel, for ``"sequence"``; empty before :meth:`fit`.
        std: Likewise.
    """

    standardize: Standardize = "none"
    clip: Span | None = None
    mean: tuple[float, ...] = ()
    std: tuple[Annotated[float, Range(0, above=True)], ...] = ()

    def __post_init__(self) -> None:
        check_fields(self)
        if len(self.mean) != len(self.std):
            raise ValueError(f"expected a mean and a std for each channel, got {self.mean} and {self.std}")
        if self.mean and self.standardize != "sequence":
            raise ValueError(f"mean and std are only for standardize='sequence', got {self.standardize!r}")

    @property
    def idle(self) -> bool:
        """True if images are not changed."""
        return self.standardize == "none" and self.clip is None

    def fit(self, images: "Tensor | Rows", present: Tensor | None = None) -> "Intensity":
        """Fit mean and standard deviation for ``"sequence"``; the other choices are returned unchanged.

        Args:
            images: Images of the training set, shape ``(n, channels, *spatial)``, in memory or not; uint8 counts as 0
                to 1.
            present: Shape ``(n,)``, bool; True is present. Other images are not read. None: all are present.

        Returns:
            A copy with the mean and standard deviation of each channel over the clipped values; a constant channel gets
            a standard deviation of 1.

        Raises:
            ValueError: If no image is present, or a value is NaN or infinite.
        """
        if self.standardize != "sequence":
            return self
        rows = torch.arange(len(images)) if present is None else present.nonzero().flatten().cpu()
        if not len(rows):
            raise ValueError("standardizing by sequence needs training images, got none")
        n_channels = images.shape[1]
        count = 0
        mean, squared_deviations = torch.zeros(2, n_channels, dtype=torch.float64)
        low, high = torch.full((n_channels,), torch.inf), torch.full((n_channels,), -torch.inf)
        for chunk in torch.split(rows, _CHUNK):
            values = self._clipped(images[chunk]).transpose(0, 1).flatten(1).cpu()
            low, high = torch.minimum(low, values.amin(1)), torch.maximum(high, values.amax(1))
            values = values.double()
            # Chan's update of mean and squared deviations: no large sums to subtract.
            n, chunk_mean = values.shape[1], values.mean(1)
            squared_deviations = squared_deviations + (values - chunk_mean.unsqueeze(1)).square().sum(1)
            squared_deviations = squared_deviations + (chunk_mean - mean).square() * count * n / (count + n)
            mean = mean + (chunk_mean - mean) * n / (count + n)
            count += n
        if not bool(mean.isfinite().all()):
            raise ValueError("standardizing by sequence needs finite values, got a training image with NaN or infinity")
        std = torch.where(high > low, (squared_deviations / count).sqrt(), 1.0)
        return replace(self, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def __call__(self, images: Tensor) -> Tensor:
        """Clip and standardize images.

        Args:
            images: Shape ``(b, channels, *spatial)``, floating point, or uint8, which counts as 0 to 1. Images do not
                affect each other, so absent ones may hold any values.

        Returns:
            The same shape, float64 for float64, else float32; a constant image becomes zeros with ``"image"``, a
            constant channel with ``"channel"``.

        Raises:
            ValueError: If ``"sequence"`` is not fitted, or was fitted for another number of channels.
        """
        if self.standardize == "sequence" and len(self.mean) != images.shape[1]:
            state = f"fitted for {len(self.mean)} channels" if self.mean else "not fitted"
            raise ValueError(f"standardizing by sequence is {state}, the images have {images.shape[1]}: call fit")
        values = self._clipped(images)
        if self.standardize == "none":
            return values
        if self.standardize == "sequence":
            shape = (1, -1, *[1] * (values.ndim - 2))
            return (values - values.new_tensor(self.mean).view(shape)) / values.new_tensor(self.std).view(shape)
        axes = tuple(range(2 if self.standardize == "channel" else 1, values.ndim))
        low, high = values.amin(dim=axes, keepdim=True), values.amax(dim=axes, keepdim=True)
        std, mean = torch.std_mean(values, dim=axes, correction=0, keepdim=True)
        # Rounding gives a constant image a small deviation, which must not become the scale.
        return torch.where(high > low, (values - mean) / torch.where(high > low, std, 1.0), values - low)

    def _clipped(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = images.float() / 255
        elif images.dtype != torch.float64:
            images = images.float()
        return images if self.clip is None else images.clamp(*self.clip)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON, which keeps every bit of the floats."""
        packed = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        # Run folders have the key in this spelling.
        return {"standardise": packed.pop("standardize"), **packed}

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "Intensity":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If an entry is invalid; names the key.
        """
        values = dict(entries(packed, "intensity"))
        if "standardise" in values:
            values["standardize"] = values.pop("standardise")
        return unpack(cls, values, "intensity")
