"""Image files to tensors in memory: each decoded once, every fault named with its row and file."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmfusion.data.schema import require_columns, texts
from mmfusion.layers.optional import need
from mmfusion.spec import Image

_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class ImageSource:
    """Where a modality's image files are.

    Attributes:
        column: The table's column with the files' names.
        size: ``(height, width)`` in pixels that every image is brought to; the aspect ratio is not kept.
        channels: 3 for colour, 1 for grey.
        folders: Folders below the root, searched in order.
        suffix: Appended to each name, ``".jpg"``; empty where the column has whole file names.
    """

    column: str
    size: tuple[int, int]
    channels: int = 3
    folders: tuple[str, ...] = ("",)
    suffix: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", tuple(self.size))
        object.__setattr__(self, "folders", tuple(self.folders))
        if self.channels not in _MODES:
            raise ValueError(f"ImageSource expects channels 1 or 3, got {self.channels}")
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"ImageSource expects a size (height, width) of positive numbers, got {self.size}")
        if not self.folders:
            raise ValueError('ImageSource expects at least one folder; ("",) is the root itself')

    @property
    def spec(self) -> Image:
        """What a model needs to know."""
        return Image(self.channels, self.size)

    def find(self, root: Path, name: str) -> Path | None:
        """The file of that name in the first folder that has it."""
        candidates = (root / folder / f"{name}{self.suffix}" for folder in self.folders)
        return next((path for path in candidates if path.is_file()), None)

    def decode(self, path: Path) -> np.ndarray:
        """The image's pixels, shape ``(channels, height, width)`` uint8.

        Turned upright as the camera noted it (EXIF), resized bilinearly with antialiasing where the size differs.

        Raises:
            OSError, SyntaxError, ValueError: What Pillow raises for a file that it cannot decode.
        """
        pil, operations = need("PIL.Image", "bench"), need("PIL.ImageOps", "bench")
        height, width = self.size
        with pil.open(path) as opened:
            image = operations.exif_transpose(opened).convert(_MODES[self.channels])
        if image.size != (width, height):
            image = image.resize((width, height), pil.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.uint8)
        return np.ascontiguousarray(np.moveaxis(pixels.reshape(height, width, self.channels), -1, 0))

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries and lists, for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def load_images(
    sources: Mapping[str, ImageSource],
    frame: pd.DataFrame,
    root: Path | str | None,
    *,
    missing: Literal["error", "absent"] = "error",
    progress: Callable[[int, int], None] | None = None,
    threads: int = 2,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Decode all images of a table.

    Args:
        sources: Where each modality's images are.
        frame: One row a case.
        root: The folder that the names are relative to; None: the working folder.
        missing: What a file that is not there, or an empty cell, means.
        progress: Called with the images read so far and their number, in the calling thread.
        threads: Number of decoding threads; Pillow decodes without holding Python's lock.

    Returns:
        By modality, the pixels ``(n, channels, height, width)`` uint8 (zeros where absent), and ``(n,)`` bool, True
        where the image is there.

    Raises:
        ValueError: If ``missing`` is unknown, a column is not in the table, or images cannot be decoded.
        FileNotFoundError: If the root, or with ``missing="error"`` images, are not there. All at once: the first ten
            by row and file, and how many there are.
    """
    if missing not in ("error", "absent"):
        raise ValueError(f"missing_images expects 'error' or 'absent', got {missing!r}")
    if not sources:
        return {}, {}
    require_columns(frame, [source.column for source in sources.values()])
    folder = Path() if root is None else Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"the image folder {folder} is not there, or is not a folder")
    n = len(frame)
    pixels = {name: torch.zeros((n, *source.spec.shape), dtype=torch.uint8) for name, source in sources.items()}
    there = {name: torch.ones(n, dtype=torch.bool) for name in sources}
    tasks: list[tuple[str, int, Path]] = []
    absent: list[str] = []
    for name, source in sources.items():
        for i, (row, text) in enumerate(zip(frame.index, texts(frame, source.column))):
            path = None if text is None else source.find(folder, text)
            if path is not None:
                tasks.append((name, i, path))
                continue
            there[name][i] = False
            what = "an empty cell" if text is None else f"{text}{source.suffix}"
            absent.append(f"row {row}, column {source.column!r}: {what}")
    if absent and missing == "error":
        searched = sorted({str(folder / sub) for source in sources.values() for sub in source.folders})
        raise FileNotFoundError(
            f"{len(absent)} image(s) that the table names are not in {', '.join(searched)}: {_first(absent)}"
        )
    targets = {name: tensor.numpy() for name, tensor in pixels.items()}

    def decode(task: tuple[str, int, Path]) -> str | None:
        name, i, path = task
        try:
            targets[name][i] = sources[name].decode(path)
        # Pillow's decoders raise any of these on damaged data (SyntaxError for PNG chunks).
        except (OSError, SyntaxError, ValueError, need("PIL.Image", "bench").DecompressionBombError) as error:
            return f"row {frame.index[i]}: {path} ({error})"
        return None

    faults: list[str] = []
    with ThreadPoolExecutor(threads) as pool:
        for done, fault in enumerate(pool.map(decode, tasks), start=1):
            if fault is not None:
                faults.append(fault)
            if progress is not None:
                progress(done, len(tasks))
    if faults:
        raise ValueError(f"{len(faults)} image file(s) cannot be decoded, truncated or damaged: {_first(faults)}")
    return pixels, there


def _first(faults: Iterable[str], n: int = 10) -> str:
    listed = list(faults)
    return "; ".join(listed[:n]) + (f"; and {len(listed) - n} more" if len(listed) > n else "")
