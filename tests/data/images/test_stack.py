from pathlib import Path

import numpy as np
import pytest

from helpers import trees
from mmfusion.data.images.sources import source_from_dict
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource

PARTS = ("t1.nii.gz", "t2.nii.gz")


@pytest.fixture
def stack(tmp_path: Path) -> StackSource:
    for i, name in enumerate(PARTS):
        trees.write_volume(tmp_path / "case" / name, (6, 5, 4), seed=i)
    return StackSource(VolumeSource("folder", (6, 5, 4), clip=(0, 1000)), PARTS)


def test_channels_follow_file_order(tmp_path: Path, stack: StackSource) -> None:
    path = stack.find(tmp_path, "CASE")
    assert path is not None
    stack.probe(path)
    result = stack.decode(path)
    assert result.shape == stack.spec.shape == (2, 6, 5, 4)
    for i in range(2):
        expected = trees.write_volume(tmp_path / "x.nii.gz", (6, 5, 4), seed=i).clip(0, 1000)
        assert np.array_equal(result[i], expected.astype(np.float16))
    assert stack.files(path) == tuple(tmp_path / "case" / name for name in PARTS)


def test_case_with_missing_file_is_not_found(tmp_path: Path, stack: StackSource) -> None:
    (tmp_path / "case" / PARTS[1]).unlink()
    assert stack.find(tmp_path, "case") is None
    assert stack.find(tmp_path, "none") is None


def test_damaged_file_raises_with_its_name(tmp_path: Path, stack: StackSource) -> None:
    (tmp_path / "case" / PARTS[1]).write_bytes(b"hello")
    path = stack.find(tmp_path, "case")
    assert path is not None
    for look in (stack.probe, stack.decode):
        with pytest.raises(ValueError, match=r"^t2\.nii\.gz: not a NIfTI volume"):
            look(path)


def test_json_round_trip(stack: StackSource) -> None:
    assert source_from_dict(stack.to_dict()) == stack


def test_invalid_parts_raise() -> None:
    with pytest.raises(ValueError, match=r"parts expects .*, got 't1'"):
        StackSource(VolumeSource("folder", (6, 5, 4)), "t1")
