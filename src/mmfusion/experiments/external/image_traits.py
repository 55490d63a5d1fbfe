"""Traits of images by which their acquisition shows: size and format of the file, brightness, contrast, sharpness."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.frame import FrameDataset, as_floats
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import find_images, named_columns

FORMAT = "format"
"""The trait whose values are texts."""

_AT_ONCE = 64

Floats = NDArray[np.float64]


def pixel_traits(dataset: FrameDataset, modality: str) -> dict[str, Floats]:
    """Traits of the pixels as they are stored, shape ``(n,)`` each; NaN where a case lacks the image.

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
        x = as_floats(dataset.pixels(modality, slice(start, start + _AT_ONCE))).double()
        mean, std = x.flatten(1).mean(1), x.flatten(1).std(1, unbiased=False)
        sharp = x.diff(dim=-1).abs().flatten(1).mean(1) / std.clamp_min(1e-9)
        values = [mean, std, sharp]
        if len(names) > len(values):
            of_channel = x.flatten(2).mean(2) / (3 * mean[:, None]).clamp_min(1e-9)
            values += [of_channel[:, 0], of_channel[:, -1]]
        rows.append(np.stack([value.numpy() for value in values], axis=1))
    table = np.where(dataset.present(modality).numpy()[:, None], np.concatenate(rows), np.nan)
    return dict(zip(names, table.T))


def file_traits(dataset: FrameDataset, source: Source, root: Path | None) -> tuple[dict[str, Floats], list[str | None]]:
    """Size of each case's file, and its format by the ending of its name; nothing is decoded.

    Args:
        dataset: The cases, with their table.
        source: Where the images are.
        root: Folder of the names; None: the working folder.

    Returns:
        Kilobytes by the trait's name, empty where the files are not there; and formats, None without a file.
    """
    frame = dataset.frame
    if not set(named_columns(source.column)) <= set(frame.columns) or (root is not None and not root.is_dir()):
        return {}, [None] * len(frame)
    paths = find_images({"image": source}, frame, root).paths["image"]
    if not any(paths):
        return {}, [None] * len(frame)
    sizes = [np.nan if path is None else sum(_size(file) for file in source.files(path)) / 1000 for path in paths]
    return {"kilobytes": np.array(sizes)}, [None if path is None else _ending(path) for path in paths]


def _size(path: Path) -> float:
    try:
        return float(path.stat().st_size)
    except OSError:
        return np.nan


def _ending(path: Path) -> str:
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower() or "none"
