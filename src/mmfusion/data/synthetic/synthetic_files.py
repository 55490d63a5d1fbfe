"""A synthetic test set as files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.bundle import DataBundle
from mmfusion.data.frame import FrameDataset
from mmfusion.data.synthetic.synthetic_men import GREYS
from mmfusion.data.whole_files import replace_file
from mmfusion.utils.optional import need


def export(bundle: DataBundle, folder: Path | str) -> Path:
    """Write the test set as files: a table and lossless images, in the form of new cases.

    ``bundle.reader.read(pandas.read_csv(table), folder)`` then gives the same inputs; with absent images it needs
    ``missing_images="absent"``. Photographs are written as PNG, volumes as NIfTI.

    Args:
        bundle: A synthetic dataset.
        folder: The folder; created if it does not exist.

    Returns:
        The path of the table, ``table.csv``.

    Raises:
        ValueError: If the test set is not a :class:`FrameDataset`.
        FileExistsError: If the folder has a ``table.csv`` already.
    """
    cases = bundle.test
    if not isinstance(cases, FrameDataset):
        raise ValueError(f"export expects a test set in memory, got a {type(cases).__name__}")
    folder = Path(folder)
    table = folder / "table.csv"
    if table.exists():
        raise FileExistsError(f"{table} exists already: choose another folder, or remove it first")
    for view, source in bundle.reader.images.items():
        spec = source.spec
        names = cases.frame[source.column]
        for name, is_present, pixels in zip(names, names.notna(), cases.pixels(view).numpy()):
            if not is_present:
                continue
            path = folder / f"{name}{source.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if len(spec.size) == 3:
                _write_volume(path, pixels[0], spec.spacing or (1.0, 1.0, 1.0))
            else:
                need("PIL.Image", "bench").fromarray(np.moveaxis(pixels, 0, -1)).save(path)
    # The table comes last: if it exists, the images are complete.
    replace_file(table, cases.frame.to_csv(index=False).encode())
    return table


def _write_volume(path: Path, voxels: NDArray[Any], spacing: tuple[float, ...]) -> None:
    """Write bytes in the order height, width, slices; the header has their scale and spacing."""
    nibabel = need("nibabel", "medical")
    step = float(GREYS[1])
    volume = nibabel.Nifti1Image(np.rint(voxels / step).astype(np.uint8), np.diag([*spacing, 1.0]))
    volume.header.set_slope_inter(step, 0.0)
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)
