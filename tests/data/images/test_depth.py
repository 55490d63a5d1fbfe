from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.images.depth import depth_of
from mmfusion.data.images.photographs import ImageSource

SOURCE = ImageSource("file", (2, 2), channels=1)


def write(path: Path, largest: int, dtype: type = np.uint16) -> Path:
    Image.fromarray(np.array([[0, largest], [largest // 2, 7]], dtype=dtype)).save(path)
    return path


@pytest.mark.parametrize(
    ("largest", "bits"), [(255, 8), (256, 10), (1023, 10), (4095, 12), (4096, 14), (20000, 16), (65535, 16)]
)
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_depth_of_values(tmp_path: Path, largest: int, bits: int, ending: str) -> None:
    low, high = write(tmp_path / f"low{ending}", 9), write(tmp_path / f"high{ending}", largest)
    assert depth_of(SOURCE, [low, None, high, high]) == bits


def test_byte_images_have_default_depth(tmp_path: Path) -> None:
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    assert depth_of(SOURCE, [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png", None]) == 16
    assert depth_of(SOURCE, []) == 16


def test_table_of_12_bit_images(tmp_path: Path) -> None:
    for i in range(8):
        write(tmp_path / f"{i}.png", 4095 if i == 5 else 4000)
    frame = pd.DataFrame({"file": [f"{i}.png" for i in range(8)], "y": ["a", "b"] * 4})
    options = {"label": "y", "images": ["file"], "root": tmp_path, "size": 2, "fractions": (0.5, 0.25, 0.25)}
    dataset = TableDataset(frame, **options)
    (source,) = dataset.reader.images.values()
    assert isinstance(source, ImageSource)
    assert source.bits == 12
    assert any("column 'file' have 12 bits in files of 16: 4095 becomes white" in note for note in dataset.notes)
    assert source.decode(tmp_path / "5.png")[0].tolist() == [[0, 255], [127, 0]]
    assert source.to_dict()["bits"] == 12
    with pytest.raises(ValueError, match="from 0 to 9000, more than 12 bits: give the values that become black"):
        source.decode(write(tmp_path / "9.png", 9000))
    (explicit,) = TableDataset(frame, range=(0, 8190), **options).reader.images.values()
    assert explicit.decode(tmp_path / "5.png")[0].tolist() == [[0, 128], [64, 0]]
    assert "bits" not in explicit.to_dict()
