"""Hostile image files, by kind: each is one line in bounded time and memory, and the others of the table go on."""

import gzip
import os
import resource
import socket
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.foreign_files import opened, quiet
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import check_images, find_images, load_images, source_from_dict
from mmfusion.data.images.volumes import VolumeSource

nibabel = pytest.importorskip("nibabel")
PHOTO = ImageSource("file", (8, 8))
SCAN = VolumeSource("file", (8, 8, 4), shape="any", axes="hws")
GRID = np.arange(8 * 8 * 4, dtype=np.int16).reshape(8, 8, 4)


def png(path: Path, width: int, height: int) -> None:
    """One bit a pixel, all black: a few kilobytes for any size, of which two rows are there."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(2 * (width // 8 + 2)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


def nifti(path: Path, voxels: np.ndarray = GRID) -> bytes:
    """A volume in a file, compressed if the name ends so; what it holds, not compressed."""
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def claiming(path: Path, at: int, value: bytes, more: bytes = b"") -> None:
    """A volume whose header claims something else."""
    content = bytearray(nifti(path))
    content[at : at + len(value)] = value
    path.write_bytes(gzip.compress(bytes(content) + more) if path.suffix.lower() == ".gz" else bytes(content) + more)


def rgb(path: Path) -> None:
    nifti(path, np.zeros((8, 8, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def zeros_without_end(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # such names are short
    try:
        with socket.socket(socket.AF_UNIX) as created:
            created.bind(path.name)
    finally:
        os.chdir(here)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
HUGE = struct.pack("<hhh", 2000, 2000, 800)  # 6.4 GB as int16
NO_FILES: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": zeros_without_end,
    "socket": unix_socket,
    "folder": Path.mkdir,
    "loop": loop,
}
PHOTOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "bomb": (
        lambda path: png(path, 60000, 60000),
        "60000 x 60000 pixels take 14.4 GB.*raise it with max_bytes=|3600000000 pixels",
    ),
    "just too large": (
        lambda path: png(path, 12000, 12000),
        "12000 x 12000 pixels take 0.576 GB.*raise it with max",
    ),
    "program": (lambda path: path.write_bytes(EPS), "it is EPS, a program"),
    "empty": (Path.touch, "cannot identify image file"),
    "noise": (lambda path: path.write_bytes(np.random.default_rng(0).bytes(999)), "cannot identify image file"),
}
SCANS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "colors": ("a.nii.gz", rgb, "its voxels are colors, expected one real number each"),
    "complex": ("a.nii.gz", lambda path: nifti(path, GRID.astype(np.complex64)), "its voxels are complex64 numbers"),
    "other axes": (
        "a.nii.gz",
        lambda path: nifti(path, GRID.transpose(2, 0, 1)),
        "axis 0 is the shortest.*give the axes",
    ),
    "other axes and size": (
        "a.nii",
        lambda path: nifti(path, np.zeros((40, 9, 40), np.int16)),
        "axis 1 is the shortest",
    ),
    "huge, gzipped": ("a.nii.gz", lambda path: claiming(path, 42, HUGE), "take 12.8 GB.*raise it with max_bytes="),
    "huge": ("a.nii", lambda path: claiming(path, 42, HUGE), "take 12.8 GB.*raise it with max_bytes="),
    "far away": ("a.nii.gz", lambda path: claiming(path, 108, struct.pack("<f", 6e9)), "after 6 GB of other content"),
    "negative": (
        "a.nii.gz",
        lambda path: claiming(path, 42, struct.pack("<hhh", 8, -8, 4)),
        r"got shape \(8, -8, 4\)",
    ),
    "no axes": ("a.nii.gz", lambda path: claiming(path, 40, struct.pack("<h", 0)), "damaged"),
    "many axes": ("a.nii.gz", lambda path: claiming(path, 40, struct.pack("<h", 900)), "damaged"),
    "no kind": ("a.nii.gz", lambda path: claiming(path, 70, struct.pack("<h", 999)), "damaged"),
    "a pair": ("a.nii.gz", lambda path: claiming(path, 344, b"ni1\0"), "not a NIfTI volume in a single file"),
    "a kilobyte of nothing": ("a.nii.gz", lambda path: path.write_bytes(bytes(1000)), "not a NIfTI volume"),
    "gzip of nothing": ("a.nii.gz", lambda path: path.write_bytes(gzip.compress(bytes(1000))), "not a NIfTI volume"),
}


@pytest.fixture(autouse=True)
def bounded():
    """No file may cost more than 400 MB; a limit on the address space would hit torch."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def refused(source, path: Path, message: str) -> None:
    for look in (source.probe, source.decode):
        with pytest.raises(ValueError, match=message) as caught:
            look(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", PHOTOS)
def test_hostile_photographs_are_one_line_errors(tmp_path: Path, kind: str) -> None:
    make, message = PHOTOS[kind]
    make(tmp_path / "a.png")
    refused(PHOTO, tmp_path / "a.png", message)


@pytest.mark.parametrize("kind", SCANS)
def test_hostile_volumes_are_one_line_errors(tmp_path: Path, kind: str) -> None:
    name, make, message = SCANS[kind]
    make(tmp_path / name)
    refused(SCAN, tmp_path / name, message)


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("source", [PHOTO, SCAN], ids=["photo", "scan"])
def test_not_a_file_raises(tmp_path: Path, kind: str, source: ImageSource | VolumeSource) -> None:
    NO_FILES[kind](tmp_path / "a")
    refused(source, tmp_path / "a", r"not a file|symbolic links")
    with pytest.raises((ValueError, OSError)):
        opened(tmp_path / "a").__enter__()


def test_bytes_after_last_voxel_raise(tmp_path: Path) -> None:
    """16 MB of zeros in some kilobytes; only the first of them is read."""
    claiming(tmp_path / "a.nii.gz", 0, b"", more=bytes(2**24))
    SCAN.probe(tmp_path / "a.nii.gz")
    tracemalloc.start()
    with pytest.raises(ValueError, match="it has more than 1048576 bytes after its last voxel"):
        SCAN.decode(tmp_path / "a.nii.gz")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**23


def test_few_bytes_after_last_voxel_are_accepted(tmp_path: Path) -> None:
    claiming(tmp_path / "a.nii.gz", 0, b"", more=bytes(100))
    assert np.array_equal(SCAN.decode(tmp_path / "a.nii.gz")[0], GRID)


@pytest.mark.parametrize("name", ["a.NII.GZ", "a.nii.gz", "a.Nii.Gz", "a.nii"])
def test_gzip_checksum_is_verified_for_any_name(tmp_path: Path, name: str) -> None:
    nifti(tmp_path / "b.nii.gz")
    whole = (tmp_path / "b.nii.gz").read_bytes()
    (tmp_path / name).write_bytes(whole)
    assert np.array_equal(SCAN.decode(tmp_path / name)[0], GRID)
    (tmp_path / name).write_bytes(whole[:-8] + bytes(255 - byte for byte in whole[-8:-4]) + whole[-4:])
    with pytest.raises(ValueError, match="damaged or truncated: CRC check failed"):
        SCAN.decode(tmp_path / name)


@pytest.mark.parametrize(
    ("source", "make"),
    [
        (PHOTO, lambda path: Image.new("L", (40, 40)).save(path, "PNG")),
        (SCAN, lambda path: nibabel.save(nibabel.Nifti1Image(np.zeros((16, 16, 8), np.uint8), np.eye(4)), path)),
    ],
    ids=["photo", "scan"],
)
def test_max_bytes_is_configurable(tmp_path: Path, source: ImageSource | VolumeSource, make) -> None:
    path = tmp_path / "a.nii"
    make(path)
    size = 4 * (40 * 40 if source is PHOTO else 16 * 16 * 8)
    packed = source.to_dict()
    assert "max_bytes" not in packed
    source_from_dict({**packed, "max_bytes": size}).decode(path)
    lower = source_from_dict({**packed, "max_bytes": size - 1})
    assert source_from_dict(lower.to_dict()) == lower
    refused(lower, path, "raise it with max_bytes=")
    with pytest.raises(ValueError, match=r"max_bytes expects int from 1 to .*, got 0"):
        source_from_dict({**packed, "max_bytes": 0})


def test_image_beyond_pillow_limit_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    PHOTO.decode(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("size", "axes", "shape"),
    [
        ((8, 8, 4), "shw", (4, 8, 8)),
        ((8, 8, 8), "hws", (4, 8, 8)),
        ((8, 8, 4), "hws", (8, 7, 6)),
        ((8, 8, 6), "hws", (4, 8, 8)),
    ],
)
def test_plausible_axes_are_accepted(tmp_path: Path, size, axes: str, shape) -> None:
    nifti(tmp_path / "a.nii", np.zeros(shape, np.int16))
    VolumeSource("file", size, shape="any", axes=axes).decode(tmp_path / "a.nii")


def test_other_files_of_table_are_read(tmp_path: Path, write_image) -> None:
    """Every kind in one folder: one line each, and files that no row names are ignored."""
    for kind, make in NO_FILES.items():
        make(tmp_path / f"{kind}.png")
    for kind, (make, _) in PHOTOS.items():
        make(tmp_path / f"{kind}.png")
    write_image(tmp_path / "good.png")
    good = pd.DataFrame({"file": ["good.png"] * 3})
    assert check_images({"a": PHOTO}, good, tmp_path, decode=True) == []
    frame = pd.DataFrame({"file": ["good.png", *(f"{kind}.png" for kind in (*NO_FILES, *PHOTOS))]})
    faults = check_images({"a": PHOTO}, frame, tmp_path)
    assert len(faults) == len(frame) - 1
    assert all(f"row {row}" in fault and "\n" not in fault for row, fault in zip(range(1, 99), faults))
    cache = ImageCache(tmp_path / "cache")
    with pytest.raises(ValueError, match=rf"^{len(PHOTOS)} image file\(s\) cannot be decoded"):
        load_images({"a": PHOTO}, frame, tmp_path, missing="absent", cache=cache)


def test_absolute_and_odd_names_are_not_found(tmp_path: Path) -> None:
    for kind, make in NO_FILES.items():
        make(tmp_path / kind)
    frame = pd.DataFrame(
        {"file": [str(tmp_path / kind) for kind in NO_FILES] + ["/" + "x" * 5000, "/a\0b", "../" * 3000]}
    )
    assert find_images({"a": PHOTO}, frame, tmp_path).paths["a"] == [()] * len(frame)
    assert Listing().file(tmp_path, "x" * 5000) is None


# Warnings of other libraries


def palette(path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.save(path, "PNG", transparency=bytes([0, 128]))


def bad_exif(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x03\0\x12\x01\x03\0\xff\xff\0\0\1\0")


LOUD: dict[str, Callable[[Path], object]] = {
    "palette with transparent bytes": palette,
    "palette with one transparent colour": lambda path: Image.new("P", (8, 8)).save(path, "PNG", transparency=0),
    "grey with a transparent grey": lambda path: Image.new("L", (8, 8)).save(path, "PNG", transparency=0),
    "colour with a transparent colour": lambda path: Image.new("RGB", (8, 8)).save(path, "PNG", transparency=(0, 0, 0)),
    "animation": lambda path: Image.new("P", (8, 8)).save(path, "GIF", transparency=0),
    "damaged exif": bad_exif,
}


@pytest.mark.parametrize("kind", LOUD)
@pytest.mark.parametrize("channels", [1, 3])
def test_pillow_warnings_are_suppressed(tmp_path: Path, kind: str, channels: int, monkeypatch) -> None:
    LOUD[kind](tmp_path / "a")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # 64 pixels: Pillow warns
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = ImageSource("file", (8, 8), channels)
        source.probe(tmp_path / "a")
        result = source.decode(tmp_path / "a")
    assert [str(warning.message) for warning in caught] == []
    assert result.shape == (channels, 8, 8)
    if kind == "palette with transparent bytes" and channels == 3:
        assert (result[:, 0, 0] == [0, 255, 0]).all()


@pytest.mark.parametrize(
    ("at", "value"),
    [(76, struct.pack("<f", 7.0)), (123, b"\xff"), (254, struct.pack("<h", -9)), (112, struct.pack("<f", 3e38))],
)
def test_nibabel_messages_are_suppressed(tmp_path: Path, at: int, value: bytes, capfd) -> None:
    claiming(tmp_path / "a.nii.gz", at, value)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for look in (SCAN.probe, SCAN.decode):
            with suppress(ValueError):
                look(tmp_path / "a.nii.gz")
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")


def test_warning_filters_are_restored() -> None:
    with warnings.catch_warnings():
        before = list(warnings.filters)
        with quiet(), quiet(), warnings.catch_warnings(record=True) as caught:
            warnings.warn("of mine", stacklevel=1)
        assert list(warnings.filters) == before
    assert len(caught) == 1
