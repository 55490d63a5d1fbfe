import contextlib
import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from helpers import cache_process
from mmfusion.data.cases import collate
from mmfusion.data.frame import FrameDataset
from mmfusion.data.images import cache as module
from mmfusion.data.images import cache_repair, cache_writing
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import load_images
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.spec import DataSpec
from mmfusion.utils import locks

SOURCE = ImageSource("file", (8, 8))
BYTES = 3 * 8 * 8
N = 6


@pytest.fixture
def files(tmp_path, write_image) -> list[Path]:
    paths = [tmp_path / "images" / f"{i}.png" for i in range(N)]
    for i, path in enumerate(paths):
        write_image(path, size=(12, 10), seed=i)
    return paths


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def make(tmp_path, said):
    return lambda **options: ImageCache(tmp_path / "cache", **{"say": said.append, **options})


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    whole = ImageSource.decode
    monkeypatch.setattr(ImageSource, "decode", lambda self, path: (names.append(path.name), whole(self, path))[1])
    return names


def direct(paths, source=SOURCE) -> torch.Tensor:
    return torch.from_numpy(np.stack([source.decode(path) for path in paths]))


def everything(rows) -> torch.Tensor:
    return rows[torch.arange(len(rows))]


def sets(tmp_path) -> int:
    return len(list((tmp_path / "cache").glob("*/keys")))


def test_images_are_decoded_once(make, files, decoded, said):
    seen = []
    rows, faults = make().rows(SOURCE, files, advance=seen.append)
    assert (rows.shape, rows.dtype, faults) == ((N, 3, 8, 8), torch.uint8, {})
    assert (decoded, seen) == ([path.name for path in files], [1] * N)
    decoded.clear()
    seen.clear()
    again, _ = make().rows(SOURCE, files, advance=seen.append)
    assert (decoded, seen, said) == ([], [N], [])
    assert torch.equal(everything(rows), everything(again))
    assert torch.equal(everything(again), direct(files))


def test_subset_of_files_in_any_order(make, files, decoded):
    make().rows(SOURCE, files[:3])
    decoded.clear()
    rows, _ = make().rows(SOURCE, [files[5], None, files[1], files[5], files[0]])
    assert decoded == ["5.png"]  # once, though two rows have it
    result = everything(rows)
    assert torch.equal(result[[0, 2, 3, 4]], direct([files[5], files[1], files[5], files[0]]))
    assert not result[1].any()


def test_rows_without_files_are_zeros(make):
    rows, _ = make().rows(SOURCE, [None, None])
    assert rows.shape == (2, 3, 8, 8)
    assert not everything(rows).any()


@pytest.mark.parametrize(
    "other",
    [
        replace(SOURCE, size=(8, 9)),
        replace(SOURCE, channels=1),
        replace(SOURCE, range=(0, 255)),
    ],
)
def test_other_source_options_decode_again(make, files, decoded, tmp_path, other):
    make().rows(SOURCE, files)
    decoded.clear()
    rows, _ = make().rows(other, files)
    assert len(decoded) == N
    assert sets(tmp_path) == 2
    assert torch.equal(everything(rows), direct(files, other))


def test_column_name_does_not_change_the_key(make, files, decoded):
    make().rows(SOURCE, files)
    decoded.clear()
    make().rows(replace(SOURCE, column="name", folders=("images",), suffix=".png"), files)
    assert decoded == []


def test_other_decoder_version_decodes_again(make, files, decoded, monkeypatch):
    make().rows(SOURCE, files)
    monkeypatch.setattr(ImageSource, "decoder", "pillow 0")
    make().rows(SOURCE, files)
    monkeypatch.setattr(module, "FORMAT", 0)
    make().rows(SOURCE, files)
    assert len(decoded) == 3 * N


def test_only_changed_file_is_decoded_again(make, files, decoded, write_image):
    before, _ = make().rows(SOURCE, files)
    old = everything(before)
    write_image(files[2], size=(12, 10), seed=99)
    os.utime(files[2], ns=(1, 1))
    decoded.clear()
    after, _ = make().rows(SOURCE, files)
    assert decoded == ["2.png"]
    new = everything(after)
    assert torch.equal(new, direct(files))
    assert not torch.equal(new[2], old[2])
    assert torch.equal(everything(before), old)


def test_volumes_are_stored_in_half_precision(make, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    content = np.random.default_rng(0).integers(0, 3000, (4, 6, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(content, np.eye(4)), tmp_path / "a.nii.gz")
    source = VolumeSource("file", (4, 6, 3), clip=(0, 1200))
    rows, _ = make().rows(source, [tmp_path / "a.nii.gz"])
    assert rows.dtype == torch.float16
    assert torch.equal(everything(rows)[0, 0].float(), torch.from_numpy(content.clip(0, 1200)).float())
    # What is known of the volumes beside their voxels decides on nothing.
    again, _ = make().rows(replace(source, spacing=(1.0, 1.0, 5.0)), [tmp_path / "a.nii.gz"])
    assert sets(tmp_path) == 1
    assert torch.equal(everything(again), everything(rows))


def test_damaged_files_are_reported_and_others_kept(make, files, decoded):
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[: len(whole) // 2])
    _, faults = make().rows(SOURCE, files)
    assert list(faults) == [3]
    files[3].write_bytes(whole)
    decoded.clear()
    rows, faults = make().rows(SOURCE, files)
    assert (decoded, faults) == (["3.png"], {})
    assert torch.equal(everything(rows), direct(files))


def test_file_changed_while_read_is_a_fault(make, files, monkeypatch, write_image):
    whole = ImageSource.decode

    def meddle(self, path):
        pixels = whole(self, path)
        if path == files[1]:
            write_image(path, size=(5, 5), seed=7)
        return pixels

    monkeypatch.setattr(ImageSource, "decode", meddle)
    assert make().rows(SOURCE, files)[1] == {1: "it changed while it was read"}


def test_faults_of_all_modalities_are_reported_together(make, files, tmp_path):
    for i in (1, 4):
        files[i].write_bytes(b"hello")
    frame = pd.DataFrame({"file": [path.name for path in files], "other": [path.name for path in reversed(files)]})
    both = {"a": ImageSource("file", (8, 8)), "b": ImageSource("other", (4, 4))}
    seen = []
    with pytest.raises(ValueError, match=r"^4 image file\(s\) cannot be decoded") as caught:
        load_images(both, frame, tmp_path / "images", cache=make(), progress=lambda *n: seen.append(n))
    for row, i, column in ((1, 1, "file"), (4, 4, "file"), (4, 1, "other"), (1, 4, "other")):
        assert f"row {row}, column {column!r}: {files[i]} (cannot identify" in str(caught.value)
    assert seen[-1] == (2 * N, 2 * N)


def test_interrupted_build_keeps_decoded_images(make, files, decoded, monkeypatch):
    noting = ImageSource.decode

    def stop(self, path):
        if path == files[4]:
            raise KeyboardInterrupt
        return noting(self, path)

    monkeypatch.setattr(ImageSource, "decode", stop)
    with pytest.raises(KeyboardInterrupt):
        make().rows(SOURCE, files)
    monkeypatch.setattr(ImageSource, "decode", noting)
    decoded.clear()
    rows, _ = make().rows(SOURCE, files)
    assert decoded == ["4.png", "5.png"]
    assert torch.equal(everything(rows), direct(files))


@given(st.lists(st.integers(0, N - 1), min_size=1, max_size=12))
def test_cached_rows_match_decoding(shared, chosen):
    rows, expected = shared
    assert torch.equal(rows[torch.tensor(chosen)], expected[chosen])


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    from PIL import Image

    folder = tmp_path_factory.mktemp("shared")
    paths = [folder / f"{i}.jpg" for i in range(N)]
    for i, path in enumerate(paths):
        noise = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    rows, _ = ImageCache(folder / "cache").rows(SOURCE, paths)
    return rows, direct(paths)


# Room


def test_least_recently_used_set_is_evicted(make, files, tmp_path):
    room = make(max_bytes=2 * N * BYTES)
    roots = [tmp_path / name for name in "abc"]
    for i, root in enumerate(roots[:2]):
        room.rows(SOURCE, files, root)
        os.utime(next(p for p in (tmp_path / "cache").glob("*.use") if p.stat().st_mtime > 1e9), (i + 1, i + 1))
    kept = {path.name for path in (tmp_path / "cache").glob("*/")}
    room.rows(SOURCE, files, roots[0])  # used again: the other one is older now
    room.rows(SOURCE, files, roots[2])
    left = {path.name for path in (tmp_path / "cache").glob("*/")}
    assert len(kept & left) == 1
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/pixels")) == 2 * N * BYTES
    seen = []
    room.rows(SOURCE, files[:1], roots[0], advance=seen.append)
    assert (room._place(SOURCE, roots[0]).home.name in left, seen) == (True, [1])


def test_set_in_use_is_not_evicted(make, files, tmp_path, said, decoded):
    room = make(max_bytes=N * BYTES)
    held, _ = room.rows(SOURCE, files, tmp_path / "a")
    expected = everything(held)
    assert room.rows(SOURCE, files, tmp_path / "b") == (None, {})
    assert "without the cache" in said[0]
    assert "with the sets in use they exceed its limit" in said[0]
    assert torch.equal(everything(held), expected)
    del held
    decoded.clear()
    rows, _ = room.rows(SOURCE, files, tmp_path / "b")
    assert rows is not None
    assert len(decoded) == N
    assert sets(tmp_path) == 1


def test_unused_images_of_set_are_evicted(make, files, tmp_path, said, write_image):
    room = make(max_bytes=N * BYTES)
    room.rows(SOURCE, files)
    for i in range(2 * N):
        write_image(files[0], size=(12, 10), seed=100 + i)
        os.utime(files[0], ns=(i, i))
        rows, _ = room.rows(SOURCE, files)
        assert torch.equal(everything(rows), direct(files))
        del rows
    assert (sets(tmp_path), said) == (1, [])


def test_set_larger_than_cache_is_not_cached(make, files, said, tmp_path):
    assert make(max_bytes=N * BYTES - 1).rows(SOURCE, files) == (None, {})
    assert "6 images need" in said[0]
    assert "raise the limit" in said[0]
    frame = pd.DataFrame({"file": [path.name for path in files]})
    images, _ = load_images({"a": SOURCE}, frame, tmp_path / "images", cache=make(max_bytes=0))
    assert torch.equal(images["a"], direct(files))
    assert sets(tmp_path) == 0


def test_insufficient_disk_space_skips_cache(make, files, said, tmp_path, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)
    make().rows(SOURCE, files, tmp_path / "a")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage._replace(free=N * BYTES))
    assert make().rows(replace(SOURCE, size=(16, 16)), files, tmp_path / "b") == (None, {})
    assert "or the disk, which has" in said[0]
    # What would not have been enough stays; what is enough goes.
    assert sets(tmp_path) == 1
    monkeypatch.setattr(
        module.shutil, "disk_usage", lambda path: usage._replace(free=(2 - sets(tmp_path)) * int(1.2 * N * BYTES))
    )
    rows, _ = make().rows(replace(SOURCE, size=(8, 10)), files, tmp_path / "b")
    assert torch.equal(everything(rows), direct(files, replace(SOURCE, size=(8, 10))))
    assert sets(tmp_path) == 1


def test_full_disk_falls_back_to_memory(make, files, said, monkeypatch, decoded):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    frame, seen = pd.DataFrame({"file": [path.name for path in files]}), []
    with monkeypatch.context() as patched:
        patched.setattr(cache_writing, "force", full)
        images, _ = load_images({"a": SOURCE}, frame, files[0].parent, cache=make(), progress=lambda *n: seen.append(n))
    assert torch.equal(images["a"], direct(files))
    assert max(seen) == seen[-1] == (N, N)
    assert "No space left on device" in said[0]
    decoded.clear()
    rows, _ = make().rows(SOURCE, files, files[0].parent)
    assert len(decoded) == N
    assert torch.equal(everything(rows), direct(files))


def test_truncated_pixels_are_decoded_again(make, files, decoded, tmp_path):
    make().rows(SOURCE, files)
    (pixels,) = (tmp_path / "cache").glob("*/pixels")
    os.truncate(pixels, 4 * BYTES + 5)
    decoded.clear()
    rows, _ = make().rows(SOURCE, files)
    assert decoded == ["4.png", "5.png"]
    assert torch.equal(everything(rows), direct(files))


# Damage


def flip(tmp_path: Path, slot: int, name: str = "pixels", size: int = BYTES, at: int = 7) -> None:
    (path,) = (tmp_path / "cache").glob(f"*/{name}")
    with path.open("r+b") as file:
        file.seek(slot * size + at)
        byte = file.read(1)[0]
        file.seek(slot * size + at)
        file.write(bytes([byte ^ 16]))


@pytest.mark.parametrize("at", [0, 100, BYTES - 1])
def test_flipped_bit_is_detected_and_image_decoded_again(make, files, decoded, said, tmp_path, at):
    make().rows(SOURCE, files)
    flip(tmp_path, 2, at=at)
    decoded.clear()
    rows, _ = make().rows(SOURCE, files)
    assert decoded == ["2.png"]
    assert torch.equal(everything(rows), direct(files))
    assert len(said) == 1
    assert "1 of 6 images in the cache" in said[0]
    decoded.clear()
    make().rows(SOURCE, files)
    assert (decoded, len(said)) == ([], 1)


@pytest.mark.parametrize("at", [0, 15, 16, 19])
def test_flipped_bit_of_key_or_checksum_is_detected(make, files, decoded, tmp_path, at):
    make().rows(SOURCE, files)
    flip(tmp_path, 4, "keys", 20, at)
    decoded.clear()
    rows, _ = make().rows(SOURCE, files)
    assert decoded == ["4.png"]
    assert torch.equal(everything(rows), direct(files))


def test_damage_outside_sample_is_detected_on_read(make, files, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHECK_BYTES", 3 * BYTES)
    make().rows(SOURCE, files)
    flip(tmp_path, 1)
    rows, _ = make().rows(SOURCE, files)
    assert torch.equal(rows[torch.tensor([0, 2])], direct([files[0], files[2]]))
    for item in (rows, pickle.loads(pickle.dumps(rows))):
        with pytest.warns(
            UserWarning, match=r"pixels is damaged: slot 1 does not match its checksum: decoded again from .*/1\.png"
        ):
            assert torch.equal(item[torch.tensor([0, 1])], direct(files[:2]))
        flip(tmp_path, 1)  # again: it was written back
    monkeypatch.undo()
    again, _ = make().rows(SOURCE, files)
    assert torch.equal(everything(again), direct(files))


def test_checksums_are_verified_periodically(make, files, monkeypatch):
    rows, _ = make().rows(SOURCE, files)
    everything(rows)
    sums, real = [], zlib.crc32
    monkeypatch.setattr("mmfusion.data.images.rows.zlib.crc32", lambda row: (sums.append(1), real(row))[1])
    for _ in range(4):
        everything(rows)
    assert len(sums) == 5 * N // 8
    everything(pickle.loads(pickle.dumps(rows)))
    assert len(sums) == 5 * N // 8


def pixels_of(tmp_path: Path) -> Path:
    (pixels,) = (tmp_path / "cache").glob("*/pixels")
    return pixels


def test_damage_during_run_is_repaired(make, files, decoded, tmp_path):
    rows, _ = make().rows(SOURCE, files)
    before = pixels_of(tmp_path).read_bytes()
    for slot in range(N):
        flip(tmp_path, slot)
    with pytest.warns(UserWarning, match="Check the disk") as warned:
        read = [rows[torch.tensor([0, 5])] for _ in range(4)] + [everything(rows)]
    assert torch.equal(read[-1], direct(files))
    assert len(warned) == 1
    assert pixels_of(tmp_path).read_bytes() == before
    decoded.clear()
    assert torch.equal(everything(rows), direct(files))
    assert len(decoded) == N  # of direct


def test_damage_while_locked_is_repaired_in_memory(make, files, decoded, tmp_path):
    rows, _ = make().rows(SOURCE, files)
    rows = pickle.loads(pickle.dumps(rows))
    for slot in range(N):
        flip(tmp_path, slot)
    before = pixels_of(tmp_path).read_bytes()
    rows._checked[:] = False
    decoded.clear()
    with locks.alone(pixels_of(tmp_path).parent.with_suffix(".build")) as ours:
        assert ours
        with pytest.warns(UserWarning, match="Check the disk"):
            result = everything(rows)
        everything(rows)
    assert len(decoded) == N
    assert torch.equal(result, direct(files))
    assert pixels_of(tmp_path).read_bytes() == before


@pytest.mark.parametrize("left", [0, 3 * BYTES + 5])
def test_truncation_during_run_is_repaired(make, files, decoded, tmp_path, left):
    rows, _ = make().rows(SOURCE, files)
    everything(rows)
    os.truncate(pixels_of(tmp_path), left)
    with pytest.warns(UserWarning, match=r"pixels ends before its slot \d: it was truncated since the run began"):
        assert torch.equal(everything(rows), direct(files))
    # Not grown again: another process may have looked at slots that would be zeros then.
    assert pixels_of(tmp_path).stat().st_size == left
    decoded.clear()
    everything(rows)
    assert decoded == []
    again, _ = make().rows(SOURCE, files)
    assert torch.equal(everything(again), direct(files))


def test_repaired_rows_in_memory_are_bounded(make, files, decoded, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_repair, "_KEPT_BYTES", 2 * BYTES)
    rows, _ = make().rows(SOURCE, files)
    os.truncate(pixels_of(tmp_path), 0)
    with pytest.warns(UserWarning, match="truncated"):
        everything(rows)
    decoded.clear()
    assert torch.equal(rows[torch.tensor([4, 5, 0])], torch.cat([direct(files[4:]), direct(files[:1])]))
    assert decoded == ["0.png", "4.png", "5.png", "0.png"]


@pytest.mark.parametrize("damage", ["flip", "cut"])
@pytest.mark.parametrize("file", ["gone", "empty", "another"])
def test_unrepairable_damage_raises_with_advice(make, files, tmp_path, write_image, damage, file):
    rows, _ = make().rows(SOURCE, files)
    rows._checked[:] = False
    if damage == "flip":
        flip(tmp_path, 3)
    else:
        os.truncate(pixels_of(tmp_path), 3 * BYTES)
    if file == "gone":
        files[3].unlink()
    elif file == "empty":
        files[3].write_bytes(b"")
    else:
        write_image(files[3], size=(12, 10), seed=77)
    with pytest.raises(
        ValueError, match=r"slot 3.*cannot be restored from .*3\.png \(.*start again with the same command"
    ) as e:
        everything(rows)
    assert "\n" not in str(e.value)


# Folders


def test_unwritable_folder_skips_cache(files, tmp_path, said):
    (tmp_path / "file").write_text("in the way")
    assert ImageCache(tmp_path / "file" / "cache", say=said.append).rows(SOURCE, files) == (None, {})
    assert "without the cache in" in said[0]
    with pytest.warns(UserWarning, match="without the cache"):
        ImageCache(tmp_path / "file" / "cache").rows(SOURCE, files)


def test_read_only_folder_is_used(make, files, decoded, said, monkeypatch):
    make().rows(SOURCE, files[:4])
    real_open, real_access = os.open, os.access

    def read_only(path, flags, *rest, **more):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and real_access(path, mode))
    monkeypatch.setattr(os, "utime", lambda *a, **k: pytest.fail("written to"))
    decoded.clear()
    rows, _ = make().rows(SOURCE, files[:4])
    assert decoded == []
    assert torch.equal(everything(rows), direct(files[:4]))
    monkeypatch.setattr(Path, "open", lambda self, mode="r", *a, **k: read_only(self, os.O_RDWR))
    assert make().rows(SOURCE, files) == (None, {})
    assert "Permission denied" in said[0]


def test_no_file_locks_skips_cache(make, files, said, monkeypatch):
    monkeypatch.setattr(locks, "AVAILABLE", False)
    assert make().rows(SOURCE, files) == (None, {})
    assert "no file locks" in said[0]


def test_invalid_options_raise(tmp_path):
    with pytest.raises(ValueError, match="0 or more, got -1"):
        ImageCache(tmp_path, max_bytes=-1)


# Processes


def started(tmp_path: Path, name: str, pause: float) -> subprocess.Popen:
    script = Path(cache_process.__file__)
    arguments = [tmp_path / "cache", tmp_path / "images", tmp_path / name, pause]
    return subprocess.Popen([sys.executable, str(script), *map(str, arguments)], stderr=subprocess.PIPE, text=True)


def lines(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


@pytest.mark.slow
def test_concurrent_builders_share_one_cache(tmp_path, files, decoded):
    two = [started(tmp_path, name, pause=0.1) for name in ("one", "two")]
    for process in two:
        assert process.communicate(timeout=120)[1] == ""
        assert process.returncode == 0
    # Each file once, by either of them.
    assert sorted(lines(tmp_path / "one") + lines(tmp_path / "two")) == [path.name for path in files]
    rows = cache_process.build(tmp_path / "cache", tmp_path / "images")
    assert decoded == []
    assert torch.equal(everything(rows), direct(files))
    assert sets(tmp_path) == 1


@pytest.mark.slow
def test_killed_builder_keeps_decoded_images(tmp_path, files, write_image, monkeypatch):
    for i in range(N, 40):
        files.append(tmp_path / "images" / f"{i}.png")
        write_image(files[-1], size=(12, 10), seed=i)
    killed = started(tmp_path, "killed", pause=0.1)
    wait_for(lambda: len(lines(tmp_path / "killed")) >= 20)
    waiting = started(tmp_path, "waiting", pause=0.0)
    time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert waiting.communicate(timeout=120)[1] == ""
    done, rest = lines(tmp_path / "killed"), lines(tmp_path / "waiting")
    assert set(done) | set(rest) == {path.name for path in files}
    # Written every second, ten files: only those since are decoded again.
    assert len(done) + len(rest) <= len(files) + 15
    assert len(rest) < len(files)
    monkeypatch.setattr(cache_process.Noting, "log", tmp_path / "after")
    rows = cache_process.build(tmp_path / "cache", tmp_path / "images")
    assert lines(tmp_path / "after") == []
    assert torch.equal(everything(rows), direct(sorted(files)))


def test_waiting_process_reports_progress_and_takes_over(files, make, monkeypatch):
    cache, seen, slept = make(), [], []
    cache.folder.mkdir()
    builds = contextlib.ExitStack()
    assert builds.enter_context(locks.alone(cache._place(SOURCE, None).build))

    def meanwhile(seconds):
        # Whoever has the lock does half of it, and ends.
        slept.append(seconds)
        builds.close()
        make().rows(SOURCE, files[:3])

    monkeypatch.setattr(module.time, "sleep", meanwhile)
    rows, _ = cache.rows(SOURCE, files, advance=seen.append)
    assert (seen, len(slept)) == ([3, 1, 1, 1], 1)
    assert torch.equal(everything(rows), direct(files))


def dataset(rows) -> FrameDataset:
    spec = DataSpec({"image": SOURCE.spec}, n_classes=2)
    labels = {"label": torch.arange(len(rows)) % 2}
    return FrameDataset(spec, pd.DataFrame(index=range(len(rows))), images={"image": rows}, tables={}, targets=labels)


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_worker_processes_share_the_file(make, files, method):
    rows, _ = make().rows(SOURCE, files)
    assert len(pickle.dumps(rows)) < 2000
    data = dataset(rows)
    loader = DataLoader(
        data,
        batch_size=4,
        collate_fn=collate,
        num_workers=2,
        multiprocessing_context=multiprocessing.get_context(method),
    )
    result = torch.cat([cases.inputs["image"] for cases in loader])
    assert torch.equal(result, direct(files).float() / 255)


def test_unpickled_rows_keep_set_in_use(make, files, tmp_path):
    room = make(max_bytes=N * BYTES)
    rows, _ = room.rows(SOURCE, files, tmp_path / "a")
    copy = pickle.loads(pickle.dumps(rows))
    del rows
    assert room.rows(SOURCE, files, tmp_path / "b") == (None, {})
    assert torch.equal(everything(copy), direct(files))
