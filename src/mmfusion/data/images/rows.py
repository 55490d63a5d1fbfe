"""Rows of images that are not in memory: mapped from files, or decoded batch by batch."""

import mmap
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.images.foreign_files import opened
from mmfusion.data.images.source import Source

_AGAIN = 8
"""Every so many reads of slots that were verified before, the checksum is verified again."""


class Rows(Protocol):
    """The interface of a tensor ``(n, channels, *spatial)`` that a dataset needs; a tensor has it.

    It can be pickled for worker processes; images are not pickled along.
    """

    @property
    def shape(self) -> Sequence[int]:
        """``(n, channels, *spatial)``."""

    @property
    def dtype(self) -> torch.dtype:
        """uint8, or floating-point numbers."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """A copy of some rows, given as ``(b,)`` int64."""


def torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    """The torch type of a numpy type."""
    return torch.from_numpy(np.empty(0, dtype=dtype)).dtype


class MappedRows:
    """Rows of an array, usually mapped into memory: the system caches what was read for all processes.

    If the array is a whole file, rows are read from the file, not through the mapping: a file that is truncated
    meanwhile then raises an error, where the mapping would end the process.

    Args:
        array: Shape ``(slots, channels, *spatial)``; a ``numpy.memmap`` is pickled as the name of its file.
        slots: The slot of each row, shape ``(n,)`` int64, -1 for a row without one, which is all zeros; None: row i is
            in slot i.
        hold: Any object that keeps the file in place; kept as long as the rows, and pickled with them.
        sums: CRC-32 of each slot, shape ``(slots,)`` uint32, verified when a process reads a slot for the first time,
            and for every eighth slot that is read again; None: no verification.
        checked: Slots that are verified already, shape ``(slots,)`` bool; None: none is.
        repair: Called with a damaged or truncated slot, its checksum and a description of the damage; returns the
            slot's image, or raises a ValueError. None: damage is an error.
    """

    def __init__(
        self,
        array: NDArray[Any],
        slots: NDArray[np.int64] | None = None,
        hold: Any = None,
        *,
        sums: NDArray[np.uint32] | None = None,
        checked: NDArray[np.bool_] | None = None,
        repair: Callable[[int, int, str], NDArray[Any]] | None = None,
    ) -> None:
        self._array = array
        self._file = _WholeFile.of(array)
        self._slots = slots
        self._hold = hold
        self._sums = sums
        self._checked = np.zeros(len(array), dtype=np.bool_) if checked is None else checked
        self._repair = repair
        self._n_read = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, channels, *spatial)``."""
        return (len(self), *self._array.shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """The array's type."""
        return torch_dtype(self._array.dtype)

    def __len__(self) -> int:
        return len(self._array) if self._slots is None else len(self._slots)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """A copy of some rows.

        Raises:
            ValueError: If the file was truncated or damaged since it was written, and the row cannot be repaired.
        """
        slots = self._slots_of(rows)
        present = slots >= 0
        if present.all():
            return torch.from_numpy(self._read(slots))
        images = np.zeros((len(slots), *self._array.shape[1:]), dtype=self._array.dtype)
        images[present] = self._read(slots[present])
        return torch.from_numpy(images)

    def checksums(self, rows: Tensor) -> NDArray[np.uint32] | None:
        """CRC-32 of some rows' bytes as they were written, without reading them; 0 for a row without a slot.

        None without checksums.
        """
        if self._sums is None:
            return None
        slots = self._slots_of(rows)
        sums = np.zeros(len(slots), dtype=np.uint32)
        sums[slots >= 0] = self._sums[slots[slots >= 0]]
        return sums

    def _slots_of(self, rows: Tensor) -> NDArray[np.int64]:
        slots: NDArray[np.int64] = np.arange(len(self._array)) if self._slots is None else self._slots
        chosen: NDArray[np.int64] = slots[rows.numpy()]
        return chosen

    def _read(self, slots: NDArray[np.int64]) -> NDArray[Any]:
        if self._file is None:
            # As a plain array: numpy would wrap every selection of a mapped one.
            return self._array.view(np.ndarray)[slots]
        images, lacking = self._file.rows(slots)
        for i in lacking:
            images[i] = self._repaired(
                int(slots[i]),
                f"{self._file.path} ends before its slot {slots[i]}: it was truncated since the run began",
                "Start again with the same command, and the missing images are decoded again",
            )
        if self._sums is not None:
            for i, slot in enumerate(slots.tolist()):
                self._n_read += 1
                if self._checked[slot] and self._n_read % _AGAIN:
                    continue
                if i not in lacking and zlib.crc32(images[i]) != self._sums[slot]:
                    # Where one slot is damaged others may be that were verified before.
                    self._checked[:] = False
                    images[i] = self._repaired(
                        slot,
                        f"{self._file.path} is damaged: slot {slot} does not match its checksum",
                        f"Check the disk, delete {self._file.path.parent} and start again with the same command: the "
                        "images are decoded again",
                    )
                self._checked[slot] = True
        return images

    def _repaired(self, slot: int, damage: str, remedy: str) -> NDArray[Any]:
        if self._repair is None or self._sums is None:
            raise ValueError(f"{damage}. {remedy}")
        return self._repair(slot, int(self._sums[slot]), damage)

    def __getstate__(self) -> dict[str, Any]:
        array = self._array if self._file is None else self._file.about
        return {
            "array": array,
            "slots": self._slots,
            "hold": self._hold,
            "sums": self._sums,
            "checked": np.packbits(self._checked),
            "repair": self._repair,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._slots, self._hold, array = state["slots"], state["hold"], state["array"]
        if isinstance(array, tuple):
            name, dtype, shape, offset = array
            array = np.memmap(name, mode="r", dtype=dtype, shape=shape, offset=offset)
        self._array, self._file = array, _WholeFile.of(array)
        self._sums, self._repair, self._n_read = state["sums"], state["repair"], 0
        self._checked = np.unpackbits(state["checked"], count=len(array)).astype(np.bool_)


class _WholeFile:
    """The file of an array that is mapped as a whole, read by position."""

    def __init__(self, array: "np.memmap[Any, Any]") -> None:
        self.path = Path(str(array.filename))
        self.about = (str(array.filename), array.dtype.str, array.shape, int(array.offset))
        self._dtype, self._shape = array.dtype, array.shape[1:]
        self._size = int(np.prod(self._shape)) * array.dtype.itemsize
        self._begin = int(array.offset)
        self._descriptor = os.open(self.path, os.O_RDONLY)

    @classmethod
    def of(cls, array: NDArray[Any]) -> "_WholeFile | None":
        """None if the array is not a whole file, or the system cannot read by position."""
        # A part of a mapped array does not know where in the file it begins.
        if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):
            return None
        if not array.flags["C_CONTIGUOUS"] or array.filename is None or not hasattr(os, "preadv"):
            return None
        return cls(array)

    def rows(self, slots: NDArray[np.int64]) -> tuple[NDArray[Any], list[int]]:
        """A copy of some rows, and the positions of rows that the file is too short for.

        Raises:
            IndexError: If there is no such row.
        """
        out = np.empty((len(slots), *self._shape), dtype=self._dtype)
        lacking: list[int] = []
        if not self._size:
            return out, lacking
        into = out.reshape(-1).view(np.uint8).data
        for i, slot in enumerate(slots.tolist()):
            row = into[i * self._size : (i + 1) * self._size]
            if os.preadv(self._descriptor, [row], self._begin + slot * self._size) != self._size:
                lacking.append(i)
        return out, lacking

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


class DecodedRows:
    """Rows that are decoded from their files at each access: slow, but without a limit of size.

    Args:
        source: Decodes the files.
        paths: One file per row; None for a row without an image, which is all zeros.
    """

    def __init__(self, source: Source, paths: Sequence[Path | None]) -> None:
        self._source = source
        self._paths = list(paths)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(n, channels, *spatial)``."""
        return (len(self._paths), *self._source.spec.shape)

    @property
    def dtype(self) -> torch.dtype:
        """The source's type."""
        return torch_dtype(self._source.dtype)

    def __len__(self) -> int:
        return len(self._paths)

    def file_checksums(self, rows: Tensor) -> NDArray[np.uint32]:
        """CRC-32 of some rows' files, which are not decoded; 0 for a row without a file.

        Raises:
            OSError: If a file cannot be read.
        """
        sums = np.zeros(len(rows), dtype=np.uint32)
        for i, row in enumerate(rows.tolist()):
            path = self._paths[row]
            for file in () if path is None else self._source.files(path):
                with opened(file) as content:
                    while piece := content.read(2**20):
                        sums[i] = zlib.crc32(piece, int(sums[i]))
        return sums

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Some rows, decoded now.

        Raises:
            ValueError: If a file cannot be decoded; names it.
        """
        out = torch.zeros((len(rows), *self._source.spec.shape), dtype=self.dtype)
        pixels = out.numpy()
        for i, row in enumerate(rows.tolist()):
            path = self._paths[row]
            if path is None:
                continue
            try:
                pixels[i] = self._source.decode(path)
            except (OSError, ValueError) as error:
                raise ValueError(f"{path} cannot be decoded, truncated or damaged ({error})") from error
        return out
