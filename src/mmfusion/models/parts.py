"""What the builders of the models share."""

from collections.abc import Mapping
from pathlib import Path

from mmfusion.backbones import create_backbone
from mmfusion.backbones.base import Backbone
from mmfusion.spec import DataSpec


def image_encoders(
    spec: DataSpec,
    *,
    encoder: str,
    weights: str | Path = "none",
    shared: bool = True,
    n_stages: int = 4,
) -> tuple[Mapping[str, Backbone], Mapping[str, str]]:
    """Encoders for all images of a spec, and the routes to them.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared: Images of one shape take one encoder, as one batch; False gives each image its own.
        n_stages: How many stages, counted from the last.

    Returns:
        Encoders by name, and for each image modality the encoder it takes.
    """
    routes: dict[str, str] = {}
    for name, image in spec.images.items():
        same = [other for other in routes if spec[other].shape == image.shape]
        routes[name] = routes[same[0]] if shared and same else name
    encoders = {
        route: create_backbone(encoder, spec[route], weights=weights, n_stages=n_stages)
        for route in dict.fromkeys(routes.values())
    }
    return encoders, routes
