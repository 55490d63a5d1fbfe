"""Image encoders: timm's for 2D, small residual networks for 2D and 3D."""

from pathlib import Path

from mmfusion.backbones.base import Backbone
from mmfusion.backbones.convnets import ConvNet
from mmfusion.backbones.timm2d import Timm
from mmfusion.registry import backbones
from mmfusion.spec import Image

__all__ = ["Backbone", "ConvNet", "Timm", "create_backbone"]


def create_backbone(name: str, image: Image, *, weights: str | Path = "none", n_stages: int = 4) -> Backbone:
    """The encoder of that name for an image: a registered one, else timm's.

    A registered builder takes ``in_channels``, ``n_axes`` and ``n_stages``.

    Args:
        name: A registered name, or any timm model's.
        image: Gives the channels, the size and the number of axes.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        n_stages: How many stages, counted from the last.

    Returns:
        The encoder.

    Raises:
        ValueError: If the name is unknown, or the encoder cannot take the image or the weights.
    """
    if name not in backbones:
        if len(image.size) != 2:
            raise ValueError(f"{name!r} would be a timm model, which encodes 2D images; the image is {image.size}")
        return Timm(name, in_channels=image.channels, size=image.size, weights=weights, n_stages=n_stages)
    if str(weights) != "none":
        raise ValueError(f"the encoder {name!r} has no weights to load, got weights={str(weights)!r}: take 'none'")
    encoder: Backbone = backbones.create(name, in_channels=image.channels, n_axes=len(image.size), n_stages=n_stages)
    return encoder
