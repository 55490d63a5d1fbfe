"""Traits of images by which their acquisition shows: of the file by its header, and of the pixels."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mmfusion.data.frame import FrameDataset, as_floats
from mmfusion.data.images.source import Properties, Source, of_case
from mmfusion.data.images.sources import find_images, named_columns
from mmfusion.data.images.threads import in_threads

_AT_ONCE = 64

Floats = NDArray[np.float64]


def pixel_traits(dataset: FrameDataset, modality: str) -> dict[str, Floats]:
    """Traits of the pixels as they are stored, shape ``(n,)`` each, means of a bag; NaN where a case lacks the image.

    Brightness is the mean, contrast the standard deviation, sharpness the mean difference of neighbours along the last
    axis in units of the contrast; of images with three channels also the share of the first and the last in brightness.

    Args:
        dataset: The cases.
        modality: Name of the image modality.
    """
    names = ["brightness", "contrast", "sharpness"]
    if dataset.spec.images[modality].channels == 3:
        names += ["share of the first channel", "share of the last channel"]
    rows = []
    for start in range(0, len(dataset), _AT_ONCE):
        chosen = slice(start, start + _AT_ONCE)
        x = as_floats(dataset.pixels(modality, chosen)).double()
        mean, std = x.flatten(1).mean(1), x.flatten(1).std(1, unbiased=False)
        sharp = x.diff(dim=-1).abs().flatten(1).mean(1) / std.clamp_min(1e-9)
        values = [mean, std, sharp]
        if len(names) > len(values):
            of_channel = x.flatten(2).mean(2) / (3 * mean[:, None]).clamp_min(1e-9)
            values += [of_channel[:, 0], of_channel[:, -1]]
        sizes = dataset.n_images(modality, chosen)
        case = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        total = torch.zeros(len(sizes), len(values), dtype=torch.float64).index_add(0, case, torch.stack(values, 1))
        rows.append((total / sizes.clamp(min=1)[:, None]).numpy())
    table = np.where(dataset.present(modality).numpy()[:, None], np.concatenate(rows), np.nan)
    return dict(zip(names, table.T))


def file_traits(dataset: FrameDataset, source: Source, root: Path | None) -> list[Properties]:
    """Properties of each case's files by their headers, see :meth:`.Source.properties`; empty without a readable one.

    Args:
        dataset: The cases, with their table.
        source: Where the images are.
        root: Folder of the names; None: the working folder.
    """
    frame = dataset.frame
    if not set(named_columns(source.column)) <= set(frame.columns) or (root is not None and not root.is_dir()):
        return [{}] * len(frame)
    paths = find_images({"image": source}, frame, root).paths["image"]
    return list(in_threads(lambda of_one: of_case([_properties(source, path) for path in of_one]), paths))


def _properties(source: Source, path: Path) -> Properties:
    try:
        return source.properties(path)
    except (OSError, ValueError):
        return {}
