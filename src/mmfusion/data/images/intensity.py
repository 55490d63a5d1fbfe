"""One scale for images whose values have no fixed range, such as MRI: clipped, then standardised."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mmfusion.data.images.rows import Rows
from mmfusion.utils.packed import unpack

Standardise = Literal["none", "image", "channel", "sequence"]
_CHUNK = 32
"""Images that are looked at together while fitting: double precision of a whole dataset would take its memory twice."""


@dataclass(frozen=True)
class Intensity:
    """How a dataset hands the images of one modality over.

    It belongs to the dataset and travels with its reader, since new cases must be treated as the training cases were;
    the normalisation that pretrained weights want is applied after it, by the backbone.

    - ``"none"``: as they are, but for the clipping. For photographs in [0, 1].
    - ``"image"``: each image to mean 0 and standard deviation 1 over all its channels and places. For sequences whose
      scale differs from scan to scan.
    - ``"channel"``: likewise each channel of each image; for sequences that are the channels of one image.
    - ``"sequence"``: by the mean and standard deviation of each channel over the training part's images. Keeps what
      differs between images; for quantitative maps such as ADC.

    Attributes:
        standardise: One of the four.
        clip: Smallest and largest value that is kept, in the images' own units; None: all are.
        mean: Of ``"sequence"``, by channel; empty before :meth:`fit`.
        std: Likewise.
    """

    standardise: Standardise = "none"
    clip: tuple[float, float] | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("clip", "mean", "std"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(float(number) for number in value))
        if self.standardise not in get_args(Standardise):
            raise ValueError(
                f"standardise expects {' or '.join(map(repr, get_args(Standardise)))}, got {self.standardise!r}"
            )
        if self.clip is not None and not (len(self.clip) == 2 and self.clip[0] < self.clip[1]):
            raise ValueError(f"clip expects a smallest and a larger largest value, got {self.clip}")
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise ValueError(f"expected a mean and a positive std for each channel, got {self.mean} and {self.std}")
        if self.mean and self.standardise != "sequence":
            raise ValueError(f"mean and std are those of standardise='sequence', got {self.standardise!r}")

    @property
    def idle(self) -> bool:
        """True if images are handed over as they are."""
        return self.standardise == "none" and self.clip is None

    def fit(self, images: "Tensor | Rows", present: Tensor | None = None) -> "Intensity":
        """Learn what ``"sequence"`` needs; the others need nothing and come back as they are.

        Args:
            images: Of the training part, shape ``(n, channels, *spatial)``, in memory or not; uint8 counts as 0 to 1.
            present: Shape ``(n,)``, bool; True is there. What the others hold is not looked at. None: all are.

        Returns:
            With the mean and standard deviation of each channel over the clipped values; a channel of one value gets a
            standard deviation of 1.

        Raises:
            ValueError: If no image is there, or a value of one is NaN or infinite.
        """
        if self.standardise != "sequence":
            return self
        rows = torch.arange(len(images)) if present is None else present.nonzero().flatten().cpu()
        if not len(rows):
            raise ValueError("standardising by sequence needs training images, got none")
        n_channels = images.shape[1]
        count, mean, squares = 0, torch.zeros(n_channels, dtype=torch.float64), torch.zeros(n_channels).double()
        low, high = torch.full((n_channels,), torch.inf), torch.full((n_channels,), -torch.inf)
        for chunk in torch.split(rows, _CHUNK):
            values = self._clipped(images[chunk]).transpose(0, 1).flatten(1).cpu()
            low, high = torch.minimum(low, values.amin(1)), torch.maximum(high, values.amax(1))
            values = values.double()
            # Chan's update of mean and squared deviations: no large sums to subtract.
            n, own = values.shape[1], values.mean(1)
            squares = squares + (values - own.unsqueeze(1)).square().sum(1)
            squares = squares + (own - mean).square() * count * n / (count + n)
            mean = mean + (own - mean) * n / (count + n)
            count += n
        if not bool(mean.isfinite().all()):
            raise ValueError("standardising by sequence needs finite values, some training image is NaN or infinite")
        std = torch.where(high > low, (squares / count).sqrt(), 1.0)
        return replace(self, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def __call__(self, images: Tensor) -> Tensor:
        """The images as they are handed over.

        Args:
            images: Shape ``(b, channels, *spatial)``, floating point, or uint8, which counts as 0 to 1. No image looks
                at another, so that an absent one may hold anything.

        Returns:
            Of the same shape, float32, or float64 where it came so; a constant image becomes zeros under ``"image"``,
            a constant channel under ``"channel"``.

        Raises:
            ValueError: If ``"sequence"`` was not fitted, or for another number of channels.
        """
        if self.standardise == "sequence" and len(self.mean) != images.shape[1]:
            had = f"fitted for {len(self.mean)} channels" if self.mean else "not fitted"
            raise ValueError(f"standardising by sequence is {had}, the images have {images.shape[1]}: call fit")
        values = self._clipped(images)
        if self.standardise == "none":
            return values
        if self.standardise == "sequence":
            shape = (1, -1, *[1] * (values.ndim - 2))
            return (values - values.new_tensor(self.mean).view(shape)) / values.new_tensor(self.std).view(shape)
        axes = tuple(range(2 if self.standardise == "channel" else 1, values.ndim))
        low, high = values.amin(dim=axes, keepdim=True), values.amax(dim=axes, keepdim=True)
        std, mean = torch.std_mean(values, dim=axes, correction=0, keepdim=True)
        # Rounding gives a constant image a deviation of its own, which must not become the scale.
        return torch.where(high > low, (values - mean) / torch.where(high > low, std, 1.0), values - low)

    def _clipped(self, images: Tensor) -> Tensor:
        if images.dtype == torch.uint8:
            images = images.float() / 255
        elif images.dtype != torch.float64:
            images = images.float()
        return images if self.clip is None else images.clamp(*self.clip)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON, which keeps every bit of the floats."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "Intensity":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: If it is not what that wrote; names the key.
        """
        return unpack(cls, packed, "intensity")
