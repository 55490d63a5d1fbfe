"""Decoded images on disk, read by position: decoded once for all runs, epochs and processes.

A *set* is a folder for one way of decoding: the source's settings, the decoder's version, the root of the files. It has
two files: ``pixels``, one slot of equal size per image, and ``keys``, 20 bytes per slot: a digest of the file whose
image is in it, zeros for none, and the CRC-32 of the slot's pixels. An image is looked up by its key: a file that
changed has another key and takes another slot, and nothing that a process may be reading is ever overwritten.

Checksums are verified when the rows are opened (of a sample where there are many), when a process reads another slot
for the first time, and for every eighth slot that is read again. A slot that the disk has damaged is marked as such,
and its image decoded again; during a run, :mod:`~mmfusion.data.images.cache_repair` restores it from its file.

Only the user can read folders and files: decoded images are patients' data.

A slot's key is written after its pixels have reached the disk, so a kill at any moment leaves complete images and free
slots. One process writes to a set at a time; another that needs the same images waits until they are complete, or
continues where a kill ended the first. Unused sets are removed, the least recently used first, where space is needed.
"""

import hashlib
import json
import os
import shutil
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion.data.images import cache_keys
from mmfusion.data.images.cache_repair import Repair
from mmfusion.data.images.cache_writing import Done, Writer, force
from mmfusion.data.images.rows import MappedRows
from mmfusion.data.images.source import Source, n_bytes
from mmfusion.data.images.threads import in_threads
from mmfusion.utils import locks
from mmfusion.utils.cache_folders import cache_folder, make_private, private_file, private_folder

FORMAT = 2
_ENTRY = np.dtype([("key", f"V{cache_keys.SIZE}"), ("sum", "<u4")])
_FREE = bytes(cache_keys.SIZE)
_DAMAGED = b"\xff" * cache_keys.SIZE
"""The key of a slot whose pixels are not those that were written; it is neither read nor written any more."""
_CHECK_BYTES = 2**30
"""Most bytes that are read to verify checksums when rows are opened; other slots are verified when first read."""
_NOT_PIXELS = {"column", "folders", "suffix", "endings", "spacing", "max_bytes", "bag"}
"""Options of sources that do not change the decoded pixels."""
_LOOK = 0.2
"""Seconds between two checks of another process's progress."""


class ImageCache:
    """A folder of decoded images, of bounded size.

    Args:
        folder: The cache's folder; created when needed. None: ``images`` in the user's cache folder.
        max_bytes: Limit of all sets together. A set that does not fit is read without the cache.
        say: Called with a message when images are read without the cache or the cache is damaged; None: a warning.

    Raises:
        ValueError: If ``max_bytes`` is negative.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        max_bytes: int = 20 * 10**9,
        say: Callable[[str], None] | None = None,
    ) -> None:
        if max_bytes < 0:
            raise ValueError(f"ImageCache expects max_bytes of 0 or more, got {max_bytes}")
        self.folder = cache_folder("images") if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self._say = say or (lambda text: warnings.warn(text, stacklevel=4))

    def rows(
        self,
        source: Source,
        paths: Sequence[Path | None],
        root: Path | str | None = None,
        *,
        advance: Callable[[int], None] = lambda n: None,
    ) -> tuple[MappedRows | None, dict[int, str]]:
        """The images of some files; those that are not in the cache yet are decoded now.

        Args:
            source: Decodes the files.
            paths: One file per row; None for a row without an image.
            root: The files' common folder; each root has its own set.
            advance: Called with the number of further files that are ready, in the calling thread.

        Returns:
            The rows, zeros without a file; None if they cannot be cached, after a message that says why. And by row
            what is wrong with files that cannot be decoded; the others are cached all the same.
        """
        try:
            if not locks.AVAILABLE:
                raise OSError("this system has no file locks")
            return self._rows(source, list(paths), root, advance)
        except OSError as error:
            self._say(f"images are read without the cache in {self.folder}: {error}")
            return None, {}

    def _rows(
        self,
        source: Source,
        paths: list[Path | None],
        root: Path | str | None,
        advance: Callable[[int], None],
    ) -> tuple[MappedRows, dict[int, str]]:
        keys = [None if path is None else cache_keys.of_image(source, path) for path in paths]
        # A file of several rows is decoded once.
        files = {key: path for key, path in zip(keys, paths) if key is not None and path is not None}
        done = Done(Counter(key for key in keys if key is not None), advance)
        place = self._place(source, root)
        private_folder(self.folder)
        for lock in (place.use, place.build, self.folder / "room.lock"):
            private_file(lock)
        hold = locks.Hold(place.use)
        try:
            place.touch()
            known = place.known()
            checked = self._check(place, [known[key] for key in files if key in known])
            done.add(place.known())
            faults: dict[bytes, str] = {}
            while done.left:
                with locks.alone(place.build) as ours:
                    if ours:
                        done.add(place.known())
                        faults = self._build(place, source, files, done, hold)
                        break
                # Another process is writing to the set.
                time.sleep(_LOOK)
                done.add(place.known())
            known = place.known()
            slots = np.array([known.get(key, -1) if key is not None else -1 for key in keys], dtype=np.int64)
            sums = place.sums()
            whole = np.zeros(len(sums), dtype=np.bool_)
            whole[[slot for slot in checked if slot < len(sums)]] = True
            repair = Repair(
                source,
                {known[key]: (key, path) for key, path in files.items() if key in known},
                place.pixels,
                place.build,
            )
            rows = MappedRows(place.mapped(source), slots, hold, sums=sums, checked=whole, repair=repair)
            return rows, {i: faults[key] for i, key in enumerate(keys) if key in faults}
        except BaseException:
            hold.release()
            raise

    def _check(self, place: "_Place", slots: list[int]) -> list[int]:
        """Verify the checksums of some slots, evenly spaced where there are many; damaged slots are marked as such.

        Returns:
            The slots that are intact.
        """
        step = max(1, -(-len(slots) * place.size // _CHECK_BYTES))
        some, sums = slots[::step], place.sums()
        if not some:
            return []
        with place.pixels.open("rb", buffering=0) as pixels:
            descriptor = pixels.fileno()

            def whole(slot: int) -> bool:
                return zlib.crc32(os.pread(descriptor, place.size, slot * place.size)) == int(sums[slot])

            good = list(in_threads(whole, some))
        damaged = [slot for slot, ok in zip(some, good) if not ok]
        if damaged:
            self._say(
                f"{len(damaged)} of {len(some)} images in the cache {place.home} do not match their checksums, and are "
                "decoded again: check the disk"
            )
            place.mark_damaged(damaged)
        return [slot for slot, ok in zip(some, good) if ok]

    def _place(self, source: Source, root: Path | str | None) -> "_Place":
        settings = {
            "format": FORMAT,
            "source": {name: value for name, value in source.to_dict().items() if name not in _NOT_PIXELS},
            "decoder": source.decoder,
            "shape": list(source.spec.shape),
            "dtype": source.dtype.str,
            "by": "stat",
            "root": os.path.abspath(root or ""),
        }
        text = json.dumps(settings, sort_keys=True).encode("utf-8", "surrogateescape")
        return _Place(self.folder / hashlib.blake2b(text, digest_size=16).hexdigest(), n_bytes(source))

    def _build(
        self,
        place: "_Place",
        source: Source,
        files: dict[bytes, Path],
        done: "Done",
        hold: locks.Hold,
    ) -> dict[bytes, str]:
        """Decode the images that are missing; the faults by key. The caller holds the build lock."""
        lacking = [key for key in files if key in done.left]
        if not lacking:
            return {}
        with locks.alone(self.folder / "room.lock", wait=True):
            slots = self._make_room(place, files, len(lacking), hold)
            # Making room may have emptied this set.
            known = place.known()
            lacking = [key for key in files if key not in known]

        def decode(key: bytes) -> NDArray[Any] | str:
            try:
                pixels = source.decode(files[key])
                if pixels.shape != source.spec.shape or pixels.dtype != source.dtype:
                    return f"decoded to {pixels.dtype} {pixels.shape}, expected {source.dtype} {source.spec.shape}"
                same = cache_keys.of_image(source, files[key]) == key
                return pixels if same else "it changed while it was read"
            except (OSError, ValueError) as error:
                return str(error)

        faults: dict[bytes, str] = {}
        with place.pixels.open("r+b") as pixels, place.keys.open("r+b") as keys:
            writer = Writer(pixels, keys, place.size, _ENTRY.itemsize)
            try:
                for key, slot, result in zip(lacking, slots, in_threads(decode, lacking)):
                    if isinstance(result, str):
                        faults[key] = result
                    else:
                        writer.write(slot, key, result)
                    done.add([key])
            finally:
                writer.commit()
        return faults

    def _make_room(self, place: "_Place", wanted: Iterable[bytes], n_lacking: int, hold: locks.Hold) -> list[int]:
        """Free slots for all missing images; other sets are removed if necessary.

        Raises:
            OSError: If there is not enough space.
        """
        wanted = list(wanted)
        whole = len(wanted) * place.size
        if whole > self.max_bytes:
            raise OSError(
                f"{len(wanted)} images need {whole / 1e9:.3g} GB, more than its limit of {self.max_bytes / 1e9:.3g} "
                "GB: raise the limit (run.cache_gb; max_bytes of an ImageCache)"
            )

        def fits() -> bool:
            more = max(0, n_lacking - len(place.free())) * place.size
            used = sum(other.n_bytes for other in self._places())
            return used + more <= self.max_bytes and more <= 0.95 * shutil.disk_usage(self.folder).free

        others = sorted((p for p in self._places() if p.home != place.home), key=lambda p: p.used)
        removable = sum(other.n_bytes for other in self._places())
        # No set is removed in vain.
        if whole <= 0.95 * (shutil.disk_usage(self.folder).free + removable):
            while others and not fits():
                others.pop(0).remove()
        if not fits() and len(place.known()) > len(wanted) - n_lacking:
            # This set holds images of other or changed files: it is emptied, unless another process reads it.
            hold.release()
            with locks.alone(place.use) as ours:
                if ours:
                    place.empty()
            hold.take()
            n_lacking = len([key for key in wanted if key not in place.known()])
        if not fits():
            free = shutil.disk_usage(self.folder).free
            raise OSError(
                f"{n_lacking} more images need {n_lacking * place.size / 1e9:.3g} GB, but with the sets in use they "
                f"exceed its limit of {self.max_bytes / 1e9:.3g} GB, or the disk, which has {free / 1e9:.3g} GB free: "
                "raise the limit (run.cache_gb; max_bytes of an ImageCache), or free space"
            )
        return place.grow(n_lacking)

    def _places(self) -> list["_Place"]:
        return [_Place(path.parent, 1) for path in self.folder.glob("*/keys")]


class _Place:
    """A set's files and locks. Lock files stay when the set is removed, as other processes may wait for them."""

    def __init__(self, home: Path, size: int) -> None:
        self.home = home
        self.size = size
        self.pixels, self.keys = home / "pixels", home / "keys"
        self.use, self.build = home.with_suffix(".use"), home.with_suffix(".build")

    def touch(self) -> None:
        """Record that the set is opened now; without effect in a read-only folder."""
        if os.access(self.use, os.W_OK):
            private_folder(self.home)
            # Former versions let everybody read these.
            for path in (self.home, self.pixels, self.keys):
                make_private(path)
            os.utime(self.use)

    @property
    def used(self) -> float:
        """When the set was last opened."""
        return self.use.stat().st_mtime if self.use.exists() else 0.0

    @property
    def n_bytes(self) -> int:
        """Size of its pixels in bytes, allocated ones included."""
        return _length(self.pixels)

    def _entries(self) -> NDArray[np.void]:
        """Key and checksum of each slot; entries beyond the pixels are invalid."""
        content = np.fromfile(self.keys, dtype=_ENTRY) if self.keys.is_file() else np.empty(0, dtype=_ENTRY)
        return content[: _length(self.pixels) // self.size]

    def known(self) -> dict[bytes, int]:
        """The slot of each image in the set, by key."""
        keys = enumerate(map(bytes, self._entries()["key"]))
        return {key: slot for slot, key in keys if key not in (_FREE, _DAMAGED)}

    def sums(self) -> NDArray[np.uint32]:
        """CRC-32 of each slot's pixels; shape ``(slots,)``."""
        sums: NDArray[np.uint32] = self._entries()["sum"].astype(np.uint32)
        return sums

    def mark_damaged(self, slots: Iterable[int]) -> None:
        """Mark slots as damaged."""
        with self.keys.open("r+b") as keys:
            for slot in slots:
                keys.seek(slot * _ENTRY.itemsize)
                keys.write(_DAMAGED)
            force(keys)

    def free(self) -> list[int]:
        """Slots without an image."""
        return [slot for slot, key in enumerate(map(bytes, self._entries()["key"])) if key == _FREE]

    def grow(self, n: int) -> list[int]:
        """``n`` free slots; the files grow if there are too few."""
        private_file(self.pixels)
        private_file(self.keys)
        free, n_slots = self.free(), len(self._entries())
        more = max(0, n - len(free))
        with self.pixels.open("ab") as pixels:
            pixels.truncate((n_slots + more) * self.size)
        with self.keys.open("ab") as keys:
            # Keys beyond the pixels are invalid.
            keys.truncate(n_slots * _ENTRY.itemsize)
            keys.truncate((n_slots + more) * _ENTRY.itemsize)
        return (free + list(range(n_slots, n_slots + more)))[:n]

    def empty(self) -> None:
        """Remove all images, the keys first: pixels without keys are never read."""
        self.keys.unlink(missing_ok=True)
        self.pixels.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the set, unless a process reads or writes it."""
        with locks.alone(self.build) as unbuilt, locks.alone(self.use) as unread:
            if unbuilt and unread:
                self.empty()
                shutil.rmtree(self.home, ignore_errors=True)

    def mapped(self, source: Source) -> NDArray[Any]:
        """All slots, shape ``(slots, channels, *spatial)``."""
        shape = (len(self._entries()), *source.spec.shape)
        if not shape[0]:
            return np.zeros(shape, dtype=source.dtype)
        return np.memmap(self.pixels, mode="r", dtype=source.dtype, shape=shape)


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
