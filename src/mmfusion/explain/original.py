"""Maps at the size and in the orientation of the original files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.images.source import Source


def original_map(heat: Tensor, source: Source, path: Path | str) -> NDArray[np.float32]:
    """A heat map of one case, laid over the pixels or voxels of its file: turned, resampled and resized back.

    Args:
        heat: Shape ``size`` of the model's input, without augmentation.
        source: The modality's, which decoded the file.
        path: The file; of a stack any of its files.

    Returns:
        The shape of the file's array: ``(height, width)`` as stored, before the rotation of EXIF, or the axes of the
        volume's header. Zeros where the file was cut.

    Raises:
        ValueError: If the map has another size than the source's images, or the file cannot be read.
    """
    if tuple(heat.shape) != source.spec.size:
        raise ValueError(f"a map of {source.spec.size} is expected, one case's, got {tuple(heat.shape)}")
    return source.file_map(Path(path), heat.detach().float().cpu().numpy())
