import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.images.sources import source_from_dict
from mmfusion.data.images.volumes import VolumeSource

nrrd = pytest.importorskip("nrrd")
VOXELS = np.random.default_rng(0).integers(0, 2000, (4, 5, 3)).astype(np.int16)
SOURCE = VolumeSource("file", (4, 5, 3), format="nrrd", axes="hws")


def write(path: Path, voxels: np.ndarray = VOXELS, **fields: Any) -> Path:
    nrrd.write(str(path), voxels, {name.replace("_", " "): value for name, value in fields.items()})
    return path


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("dtype", ["int16", "uint8", "float32", "float64", ">i2", "uint32"])
def test_voxels_round_trip(tmp_path: Path, encoding: str, dtype: str) -> None:
    voxels = (VOXELS % 200).astype(dtype)
    assert np.array_equal(SOURCE.decode(write(tmp_path / "a.nrrd", voxels, encoding=encoding))[0], voxels)
    assert source_from_dict(SOURCE.to_dict()) == SOURCE


@pytest.mark.parametrize(
    ("space", "expected"),
    [("left-posterior-superior", "LPS"), ("RAS", "RAS"), ("left-anterior-superior", "LAS"), ("scanner-xyz", None)],
)
def test_directions_and_spacing_of_header(tmp_path: Path, space: str, expected: str | None) -> None:
    path = write(tmp_path / "a.nrrd", space=space, space_directions=np.diag([0.5, 1, 3]), space_origin=[0, 0, 0])
    assert SOURCE.axes_of(path) == (expected, (4, 5, 3), (0.5, 1, 3))
    turned = VolumeSource("file", (4, 5, 3), format="nrrd", axes="hws", orientation="RAS")
    flipped = {"LPS": VOXELS[::-1, ::-1], "LAS": VOXELS[::-1]}.get(expected or "", VOXELS)
    assert np.array_equal(turned.decode(path)[0], flipped)


def header(path: Path, text: str, content: bytes = b"") -> None:
    path.write_bytes(b"NRRD0004\n" + text.encode() + b"\n\n" + content)


PLAIN = "type: short\ndimension: 3\nendian: little\nsizes: "
HOSTILE = {
    "text": (lambda path: path.write_text("no volume"), "not an NRRD volume"),
    "empty": (Path.touch, "not an NRRD volume"),
    "no fields": (lambda path: header(path, ""), "the encoding None"),
    "huge": (lambda path: header(path, f"{PLAIN}60000 60000 9\nencoding: gzip"), "take 130 GB.*max_bytes="),
    "negative": (lambda path: header(path, f"{PLAIN}-4 5 3\nencoding: raw"), r"got shape \(-4, 5, 3\)|damaged"),
    "block": (lambda path: header(path, f"{PLAIN}4 5 3\nencoding: raw".replace("short", "block")), "type 'block'"),
    "text encoding": (lambda path: header(path, f"{PLAIN}4 5 3\nencoding: ascii"), "store it as raw or gzip"),
    "detached": (lambda path: header(path, f"{PLAIN}4 5 3\nencoding: raw\ndata file: /etc/passwd"), "in another file"),
    "colors": (lambda path: write(path, np.zeros((3, 4, 5, 3), np.uint8)), "expected .*three axes.*|got shape"),
}
DAMAGED = {
    "truncated": (
        lambda path: path.write_bytes(write(path, encoding="raw").read_bytes()[:-9]),
        "ends after 111 of 120",
    ),
    "gzip of nothing": (lambda path: header(path, f"{PLAIN}4 5 3\nencoding: gzip", b"abc" * 9), "damaged"),
    "cut gzip": (lambda path: path.write_bytes(write(path).read_bytes()[:-30]), "ends after|damaged"),
}


@pytest.mark.parametrize("kind", [*HOSTILE, *DAMAGED])
def test_hostile_files_are_one_line_errors(tmp_path: Path, kind: str) -> None:
    make, message = (HOSTILE | DAMAGED)[kind]
    make(tmp_path / "a.nrrd")
    for look in (SOURCE.probe, SOURCE.decode) if kind in HOSTILE else (SOURCE.decode,):
        if kind == "huge":
            look = getattr(VolumeSource("file", (4, 5, 3), format="nrrd", axes="hws", shape="any"), look.__name__)
        with pytest.raises(ValueError, match=message) as caught:
            look(tmp_path / "a.nrrd")
        assert "\n" not in str(caught.value)


def test_compressed_bomb_is_read_up_to_last_voxel(tmp_path: Path) -> None:
    compress = zlib.compressobj(wbits=31)
    content = compress.compress(bytes(2**24)) + compress.flush()
    header(tmp_path / "a.nrrd", f"{PLAIN}4 5 3\nencoding: gzip", content)
    assert (SOURCE.decode(tmp_path / "a.nrrd") == 0).all()


def test_table_of_volumes(tmp_path: Path) -> None:
    for i in range(6):
        write(tmp_path / f"{i}.nrrd", space="RAS", space_directions=np.eye(3), space_origin=[0, 0, 0])
    frame = pd.DataFrame(
        {"scan": [f"{i}.nrrd" for i in range(6)], "y": list("ababab"), "half": ["train"] * 4 + ["test"] * 2}
    )
    dataset = TableDataset(frame, label="y", images=["scan"], root=tmp_path, test="half", size=[4, 4, 4])
    assert dataset.load().train.spec["scan"].shape == (1, 4, 4, 4)
