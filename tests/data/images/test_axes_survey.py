"""Volumes of one column whose axes differ, with sizes that would take any axis for any other."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mmfusion.data.datasets import check
from mmfusion.data.datasets.faults import DatasetError
from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.reader import CaseReader

nibabel = pytest.importorskip("nibabel")
N = 12
CUBE = [8, 8, 8]
ORNT = nibabel.orientations


def head(seed: int, shape: Sequence[int] = (8, 6, 4), zooms: Sequence[float] = (1, 1, 1)) -> Any:
    """Voxels that run right, anterior, superior."""
    content = np.random.default_rng(seed).integers(0, 1000, shape).astype(np.int16)
    return nibabel.Nifti1Image(content, np.diag([*zooms, 1.0]))


def turned(image: Any, codes: str) -> Any:
    """The same head, its voxels in another order and the affine with them."""
    return image.as_reoriented(ORNT.ornt_transform(ORNT.axcodes2ornt("RAS"), ORNT.axcodes2ornt(tuple(codes))))


def transposed(image: Any, order: Sequence[int], *, known: bool = True) -> Any:
    """Voxels in another order under a header that does not know, or says nothing of directions."""
    zooms = [image.header.get_zooms()[axis] for axis in order]
    written = nibabel.Nifti1Image(np.asarray(image.dataobj).transpose(order), np.diag([*zooms, 1.0]))
    if not known:
        written.header["qform_code"] = written.header["sform_code"] = 0
        written = nibabel.Nifti1Image(np.asarray(written.dataobj), None, header=written.header)
    return written


def table(root: Path, images: Sequence[Any]) -> pd.DataFrame:
    for i, image in enumerate(images):
        nibabel.save(image, root / f"{i}.nii.gz")
    frame = pd.DataFrame({"scan": [f"{i}.nii.gz" for i in range(len(images))]})
    frame["age"] = np.arange(len(images)) % 7 + 40.5
    frame["label"] = ["a", "b"] * (len(images) // 2)
    return frame


def opened(root: Path, frame: pd.DataFrame, **options: Any) -> TableDataset:
    return TableDataset(frame, label="label", images=["scan"], root=root, size=CUBE, **options)


@pytest.mark.slow
@pytest.mark.parametrize("codes", ["LAS", "PSR", "SRA", "LPI"])
def test_other_orientations_are_turned_and_noted(tmp_path: Path, codes: str) -> None:
    images = [head(i) for i in range(N)]
    (tmp_path / "all").mkdir()
    (tmp_path / "some").mkdir()
    expected = opened(tmp_path / "all", table(tmp_path / "all", images))
    some = [turned(image, codes) if i in (1, 5) else image for i, image in enumerate(images)]
    result = opened(tmp_path / "some", table(tmp_path / "some", some))
    (note,) = [note for note in result.notes if "headers" in note]
    assert "most volumes of column 'scan' have orientation RAS" in note
    assert "are turned to it: row 1, 5." in note
    assert "orientation RAS" in result.about
    assert not [note for note in expected.notes if "headers" in note]
    assert torch.equal(result.load().train.pixels("scan"), expected.load().train.pixels("scan"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(lambda i: transposed(head(i), (2, 0, 1)), id="header-lies"),
        pytest.param(lambda i: transposed(head(i), (1, 0, 2)), id="rows-and-columns"),
        pytest.param(lambda i: transposed(head(i), (0, 2, 1), known=False), id="no-directions"),
        pytest.param(lambda i: head(i, (5, 9, 9)), id="other-shape"),
        pytest.param(lambda i: head(i, (8, 6, 4), (3, 1, 1)), id="thick-slices-along-the-height"),
    ],
)
def test_odd_axes_raise(tmp_path: Path, odd: Callable[[int], Any]) -> None:
    thick = odd(0).header.get_zooms()[0] == 3
    zooms = (1, 1, 3) if thick else (1, 1, 1)
    frame = table(tmp_path, [odd(i) if i == 4 else head(i, zooms=zooms) for i in range(N)])
    with pytest.raises(DatasetError) as caught:
        opened(tmp_path, frame)
    (fault,) = caught.value.faults
    assert fault.startswith(f"row 4, column 'scan': {tmp_path / '4.nii.gz'} (")
    assert "orientation='RAS'" in fault
    for orientation in ("file", "RAS"):
        opened(tmp_path, frame, orientation=orientation).load()
    frame.to_csv(tmp_path / "table.csv", index=False)
    report = check.check("table", tmp_path, table=tmp_path / "table.csv", label="label", images=["scan"], size=CUBE)
    assert fault in report.faults


def test_plausible_columns_have_no_error(tmp_path: Path) -> None:
    """Boxes around lesions of any proportion, and headers without directions."""
    shapes = np.random.default_rng(3).integers(4, 10, (N, 3))
    shapes[0] = (4, 9, 9)
    shapes[1] = (9, 9, 4)
    result = opened(tmp_path, table(tmp_path, [head(i, shape) for i, shape in enumerate(shapes)]))
    assert not [note for note in result.notes if "header" in note]
    images = [transposed(head(i), (0, 1, 2), known=i > 2) for i in range(N)]
    (note,) = [note for note in opened(tmp_path, table(tmp_path, images)).notes if "header" in note]
    assert "have headers without an orientation: row 0, 1, 2. They are assumed to have RAS" in note
    every = [transposed(head(i), (0, 1, 2), known=False) for i in range(N)]
    assert not [note for note in opened(tmp_path, table(tmp_path, every)).notes if "header" in note]


def test_unequal_orientations_of_columns_are_noted(tmp_path: Path) -> None:
    frame = table(tmp_path, [head(i) if i < N else turned(head(i), "LPS") for i in range(2 * N)])
    other = frame["scan"][N:].tolist()
    frame = frame[:N].assign(second=other)
    result = TableDataset(frame, label="label", images=["scan", "second"], root=tmp_path, size=CUBE)
    assert any("differ in orientation ('scan' RAS, 'second' LPS)" in note for note in result.notes)


def test_new_volumes_are_turned_to_training_orientation(tmp_path: Path) -> None:
    """All of another hospital are oriented otherwise: the packed reader gives the same as before."""
    images = [head(i) for i in range(N)]
    frame = table(tmp_path, images)
    reader = CaseReader.from_dict(opened(tmp_path, frame).reader.to_dict())
    (tmp_path / "other").mkdir()
    table(tmp_path / "other", [turned(image, "LSP") for image in images])
    item, other = (reader.read(frame, folder).pixels("scan") for folder in (tmp_path, tmp_path / "other"))
    assert torch.equal(item, other)
