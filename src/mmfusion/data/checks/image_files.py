"""One pass over the image files of a dataset: content digests, properties of the files, and small images."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from mmfusion.data.checks.similarity import SIDE
from mmfusion.data.images.foreign_files import opened
from mmfusion.data.images.planar import PlanarSource
from mmfusion.data.images.source import Properties, Source
from mmfusion.data.images.sources import ImageFiles, Progress, file_fault
from mmfusion.data.images.threads import in_threads

_CHUNK = 2**20


@dataclass(frozen=True)
class ImageFile:
    """An image of a case, of several where it has a bag.

    Attributes:
        modality: Its modality.
        position: Position of its row in the table.
        row: Label of its row.
        path: The file.
        digest: Of its content; None where no other file has its size, or it cannot be read.
        properties: Of the file, such as its format and size.
        thumbnail: Small grey image, shape ``(SIDE, SIDE)`` uint8; None if it is not decoded or cannot be.
        fault: Why it cannot be read; empty if it can.
    """

    modality: str
    position: int
    row: Any
    path: Path
    digest: bytes | None
    properties: Properties
    thumbnail: NDArray[np.uint8] | None = None
    fault: str = ""


def read_files(
    sources: Mapping[str, Source],
    frame: pd.DataFrame,
    files: ImageFiles,
    *,
    decode: bool,
    progress: Progress | None = None,
) -> list[ImageFile]:
    """Read every image file of a table once, in threads.

    Args:
        sources: By modality.
        frame: One row per case.
        files: Of the table.
        decode: Whether the images are decoded; else only their headers are read, and files of equal size.
        progress: Called with the number of files read so far and of all files.
    """
    tasks = [(name, i, path) for name in files.paths for i, path in files.each(name)]
    sizes = [_size(sources[name], path) for name, _, path in tasks]
    # Files of different sizes have different content: most need not be read for that.
    counts = Counter(size for size in sizes if size is not None)
    shared = {id(task) for task, size in zip(tasks, sizes) if size is not None and counts[size] > 1}

    def read(task: tuple[str, int, Path]) -> ImageFile:
        name, position, path = task
        source = sources[name]
        result = ImageFile(name, position, frame.index[position], path, None, {})
        try:
            if id(task) in shared:
                result = replace(result, digest=_digest(source, path))
            result = replace(result, properties=source.properties(path))
            if decode:
                result = replace(result, thumbnail=thumbnail(source, path))
            else:
                source.probe(path)
        except (OSError, ValueError) as error:
            return replace(result, fault=file_fault(result.row, source.column, path, error))
        return result

    read_so_far = []
    for file in in_threads(read, tasks):
        read_so_far.append(file)
        if progress is not None:
            progress(len(read_so_far), len(tasks))
    return read_so_far


def thumbnail(source: Source, path: Path) -> NDArray[np.uint8]:
    """A small grey image of a file, shape ``(SIDE, SIDE)``: of a volume, four of its slices.

    Raises:
        ValueError: If the file cannot be decoded.
    """
    return small_grey(at_size(source, SIDE).decode(path))


def at_size(source: Source, side: int) -> Source:
    """The source that decodes images to squares: resized once, with antialiasing; volumes keep their size.

    Args:
        source: Of any kind.
        side: Of the square in pixels.
    """
    return replace(source, size=(side, side)) if isinstance(source, PlanarSource) else source


def small_grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """A small grey picture of decoded pixels, shape ``(SIDE, SIDE)``.

    Args:
        image: Shape ``(channels, height, width)`` in 0 to 255, or a volume ``(channels, height, width, slices)`` of any
            range, of which four slices are shown.
    """
    pixels: NDArray[np.float32] = image.astype(np.float32).mean(0)
    if pixels.ndim == 3:
        n = pixels.shape[-1]
        slices = [pixels[..., min(n - 1, round(n * (k + 0.5) / 4))] for k in range(4)]
        small = F.interpolate(torch.from_numpy(np.stack(slices))[:, None], (SIDE // 2, SIDE // 2), mode="area")[:, 0]
        pixels = torch.cat([torch.cat([*small[:2]], 1), torch.cat([*small[2:]], 1)]).numpy()
        low, high = float(pixels.min()), float(pixels.max())
        pixels = (pixels - low) * (255 / (high - low)) if high > low else np.zeros_like(pixels)
    elif pixels.shape != (SIDE, SIDE):
        pixels = F.interpolate(torch.from_numpy(pixels)[None, None], (SIDE, SIDE), mode="area")[0, 0].numpy()
    grey: NDArray[np.uint8] = pixels.clip(0, 255).round().astype(np.uint8)
    return grey


def _size(source: Source, path: Path) -> tuple[int, ...] | None:
    try:
        return tuple(os.stat(file).st_size for file in source.files(path))
    except (OSError, ValueError):
        return None


def _digest(source: Source, path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for file in source.files(path):
        digest.update(b"|")
        with opened(file) as content:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
    return digest.digest()
