"""Batches of images that take one encoder together."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Lane(NamedTuple):
    """Images of one shape on one route: one batch.

    Attributes:
        route: The encoder.
        names: The images, in order.
        sizes: Rows of each.
        x: Their rows, one image's after another's.
    """

    route: str
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    x: Tensor

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """Each image's rows, views."""
        return dict(zip(self.names, torch.split(x, list(self.sizes)), strict=True))


def lanes(images: Mapping[str, Tensor], routes: Mapping[str, str]) -> list[Lane]:
    """As few batches as there can be."""
    together: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, image in images.items():
        together.setdefault((routes[name], tuple(image.shape[1:])), []).append(name)
    found = []
    for (route, _), names in together.items():
        parts = [images[name] for name in names]
        found.append(Lane(route, tuple(names), tuple(part.shape[0] for part in parts), joined(parts)))
    return found


def by_image(of_batch: Sequence[Lane], xs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Each image's rows of what all lanes gave."""
    return {name: part for lane, x in zip(of_batch, xs, strict=True) for name, part in lane.split(x).items()}


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows one after another; a single part comes back itself."""
    return torch.cat(list(parts)) if len(parts) > 1 else parts[0]
