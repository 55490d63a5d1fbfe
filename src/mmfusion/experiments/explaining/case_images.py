"""The images of one case, with what was found in them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.images.sources import find_images, named_columns
from mmfusion.experiments.explaining.case_set import CaseSet
from mmfusion.experiments.explaining.planes import Overlaid, overlaid
from mmfusion.experiments.predictor import Predictor

MOST = 6
"""Images of one modality that are shown: of more those with the strongest map."""


def shown_images(
    predictor: Predictor,
    cases: CaseSet,
    i: int,
    name: str,
    heat: Tensor | None,
    numbers: Tensor | None,
    values: NDArray[np.float64] | None,
) -> Overlaid:
    """The planes of all images of a modality that a case has.

    Args:
        predictor: Of the run.
        cases: The set.
        i: Position of the case.
        name: The modality.
        heat: Its map, shape ``size``; of several images one after another, ``(k, *size)``.
        numbers: Regions of its only image, shape ``size``.
        values: Contribution of each.
    """
    pixels = cases.dataset.pixels(name, slice(i, i + 1))
    n, image = len(pixels), predictor.spec.images[name]
    maps: list[Tensor | None] = [None] * n
    if heat is not None:
        maps = [heat] if heat.ndim == len(image.size) else list(heat)
    paths = _paths(predictor, cases, i, name)
    paths += [None] * (n - len(paths))
    strength = [0.0 if one is None else float(one.max()) for one in maps]
    order = sorted(np.argsort([-x for x in strength], kind="stable")[:MOST].tolist())
    shown = [
        overlaid(
            pixels[k],
            maps[k],
            None if numbers is None else numbers.cpu(),
            values,
            source=predictor.reader.images.get(name),
            path=paths[k],
            spacing=image.spacing,
        )
        for k in order
    ]
    if n == 1:
        return shown[0]
    planes = [
        replace(plane, title=", ".join(filter(None, (f"image {k + 1} of {n}", plane.title))))
        for k, one in zip(order, shown, strict=True)
        for plane in one.planes
    ]
    those = "" if n <= MOST else f"; of {n} images the {MOST} with the strongest map"
    return Overlaid(tuple(planes), f"{shown[0].about}{those}", shown[0].volume)


def _paths(predictor: Predictor, cases: CaseSet, i: int, name: str) -> list[Path | None]:
    """The files of a case's images; none for cases that are made up, or whose files are gone."""
    source, frame = predictor.reader.images.get(name), cases.dataset.frame
    if source is None or not set(named_columns(source.column)) <= set(map(str, frame.columns)):
        return []
    try:
        return list(find_images({name: source}, frame.iloc[[i]], cases.root).paths[name][0])
    except (OSError, ValueError):
        return []
