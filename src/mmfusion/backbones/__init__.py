"""Image encoders: timm's for 2D, residual networks for 2D and 3D, and 2D encoders over the slices of a volume."""

from pathlib import Path
from typing import Any

from mmfusion.backbones.base import Backbone
from mmfusion.backbones.convnets import ConvNet, TinyConvNet
from mmfusion.backbones.res_mamba import ResMamba
from mmfusion.backbones.resnet3d import ResNet3d, coarsest
from mmfusion.backbones.slices import Slices
from mmfusion.backbones.timm2d import Timm
from mmfusion.registry import backbones
from mmfusion.spec import Image

__all__ = ["Backbone", "ConvNet", "ResMamba", "ResNet3d", "Slices", "Timm", "TinyConvNet", "create_backbone"]

_SLICES = "slices/"


def create_backbone(
    name: str, image: Image, *, weights: str | Path = "none", n_stages: int = 4, **options: Any
) -> Backbone:
    """The encoder of that name for an image: a registered one, else timm's.

    A registered builder takes ``in_channels``, ``n_axes`` and ``n_stages``, and may take ``size``, ``spacing`` and
    ``weights``, which are handed to it if it names them.

    Args:
        name: A registered name, or any timm model's; or ``"slices/"`` and one of them, which encodes a volume by a 2D
            encoder over its slices along the axis with the longest voxels (:class:`Slices`). The weights are those of
            the 2D encoder.
        image: Gives the channels, the size and the number of axes.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        n_stages: How many stages, counted from the last.
        options: More options of a registered builder.

    Returns:
        The encoder.

    Raises:
        ValueError: If the name is unknown, or the encoder cannot take the image or the weights.
    """
    n_axes = len(image.size)
    if name.startswith(_SLICES):
        if n_axes != 3:
            raise ValueError(f"{name!r} encodes the slices of volumes; the image is {image.size}")
        depth = coarsest(image.size, image.spacing)
        plane = tuple(n for axis, n in enumerate(image.size) if axis != depth)
        inner = name.removeprefix(_SLICES)
        encoder = create_backbone(inner, Image(image.channels, plane), weights=weights, n_stages=n_stages, **options)
        return Slices(encoder, depth_axis=depth)
    if name not in backbones:
        if n_axes != 2:
            raise ValueError(
                f"{name!r} would be a timm model, which encodes 2D images; the image is {image.size}. Take "
                f"'{_SLICES}{name}' for its slices, or an encoder of volumes"
            )
        if options:
            raise ValueError(
                f"the encoder {name!r} is a model of timm's, which takes no options here, got {sorted(options)}"
            )
        return Timm(name, in_channels=image.channels, size=image.size, weights=weights, n_stages=n_stages)
    if str(weights) != "none" and "weights" not in backbones.options(name):
        raise ValueError(f"the encoder {name!r} has no weights to load, got weights={str(weights)!r}: take 'none'")
    of_image = {"in_channels": image.channels, "n_axes": n_axes, "size": image.size, "spacing": image.spacing}
    built: Backbone = backbones.build({"name": name, **options}, **of_image, n_stages=n_stages, weights=weights)
    return built
