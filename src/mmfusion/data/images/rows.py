"""Images that are not in memory: what a dataset reads a batch of them from."""

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

from mmfusion.data.images.source import Source
from mmfusion.utils.foreign_files import opened

_AGAIN = 8
"""Of the rows that were looked at before, each so-manieth has its sum looked at again when it is read."""


class Rows(Protocol):
    """As much of a tensor ``(n, channels, *spatial)`` as a dataset needs; a tensor is one.

    It can be pickled for the processes that read, and takes nothing but its description along.
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
    """What torch calls one of numpy's types."""
    return torch.from_numpy(np.empty(0, dtype=dtype)).dtype


class MappedRows:
    """Rows of an array that is mapped into memory, or of any other: the system keeps what was read for all processes.

    What is a whole file is read from it, not through the mapping: a file that is cut off meanwhile is then an error,
    where the mapping would end the process.

    Args:
        array: Shape ``(slots, channels, *spatial)``; a ``numpy.memmap`` travels to other processes as its file's name.
        slots: The slot of each row, shape ``(n,)`` int64, -1 for a row that has none: it is all zeros; None: row i in
            slot i.
        hold: Kept as long as the rows are, and pickled with them: what keeps the file in place.
        sums: CRC-32 of each slot, shape ``(slots,)`` uint32, looked at when a process reads a slot for the first time,
            and of every eighth slot that is read again; None: there are none.
        checked: Slots whose sum was looked at already, shape ``(slots,)`` bool; None: none was.
        repair: Called with a slot that is damaged or cut off, its sum, and that in words, for the row that belongs
            there; raises a ValueError if it has none. None: damage is an error.
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
        """The array's."""
        return torch_dtype(self._array.dtype)

    def __len__(self) -> int:
        return len(self._array) if self._slots is None else len(self._slots)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """A copy of some rows.

        Raises:
            ValueError: If the file was cut off or damaged since it was written, and the row cannot be repaired; names
                it.
        """
        slots = rows.numpy() if self._slots is None else self._slots[rows.numpy()]
        there = slots >= 0 if self._slots is not None else np.ones(len(slots), dtype=np.bool_)
        if self._slots is None:
            slots = np.arange(len(self._array))[slots]
        found = self._read(slots if there.all() else slots[there])
        if there.all():
            return torch.from_numpy(found)
        out = np.zeros((len(slots), *self._array.shape[1:]), dtype=self._array.dtype)
        out[there] = found
        return torch.from_numpy(out)

    def checksums(self, rows: Tensor) -> NDArray[np.uint32] | None:
        """CRC-32 of some rows' bytes as they were written, without reading them; 0 for a row without a slot.

        None where no sums are kept.
        """
        if self._sums is None or self._slots is None:
            return None
        slots = self._slots[rows.numpy()]
        found = np.zeros(len(slots), dtype=np.uint32)
        found[slots >= 0] = self._sums[slots[slots >= 0]]
        return found

    def _read(self, slots: NDArray[np.int64]) -> NDArray[Any]:
        if self._file is None:
            # As a plain array: numpy would wrap every selection of a mapped one.
            return self._array.view(np.ndarray)[slots]
        found, lacking = self._file.rows(slots)
        for i in lacking:
            found[i] = self._repaired(
                int(slots[i]),
                f"{self._file.path} ends before its slot {slots[i]}: it was cut off since the run began",
                "Start again with the same command, and what is lacking is decoded anew",
            )
        if self._sums is not None:
            for i, slot in enumerate(slots.tolist()):
                self._n_read += 1
                if self._checked[slot] and self._n_read % _AGAIN:
                    continue
                if i not in lacking and zlib.crc32(found[i]) != self._sums[slot]:
                    # Where one is damaged others may be, that were looked at before.
                    self._checked[:] = False
                    found[i] = self._repaired(
                        slot,
                        f"{self._file.path} was damaged: slot {slot} has other bytes than were written",
                        f"Check the disk; delete {self._file.path.parent}, and the same command decodes the images "
                        "anew",
                    )
                self._checked[slot] = True
        return found

    def _repaired(self, slot: int, what: str, remedy: str) -> NDArray[Any]:
        if self._repair is None or self._sums is None:
            raise ValueError(f"{what}. {remedy}")
        return self._repair(slot, int(self._sums[slot]), what)

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
    """The file of an array that is mapped whole, read by position."""

    def __init__(self, array: "np.memmap[Any, Any]") -> None:
        self.path = Path(str(array.filename))
        self.about = (str(array.filename), array.dtype.str, array.shape, int(array.offset))
        self._dtype, self._shape = array.dtype, array.shape[1:]
        self._size = int(np.prod(self._shape)) * array.dtype.itemsize
        self._begin = int(array.offset)
        self._descriptor = os.open(self.path, os.O_RDONLY)

    @classmethod
    def of(cls, array: NDArray[Any]) -> "_WholeFile | None":
        """None where the array is no whole file, or the system cannot read by position."""
        # A part of a mapped array does not know where in the file it begins.
        if not isinstance(array, np.memmap) or not isinstance(array.base, mmap.mmap):
            return None
        if not array.flags["C_CONTIGUOUS"] or array.filename is None or not hasattr(os, "preadv"):
            return None
        return cls(array)

    def rows(self, slots: NDArray[np.int64]) -> tuple[NDArray[Any], list[int]]:
        """A copy of some rows, and the positions of those before which the file ends.

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
    """Rows that are decoded from their files each time that they are asked for: slow, and without bounds.

    Args:
        source: Decodes.
        paths: The file of each row; None where there is none: the row is all zeros.
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
        """The source's."""
        return torch_dtype(self._source.dtype)

    def __len__(self) -> int:
        return len(self._paths)

    def file_checksums(self, rows: Tensor) -> NDArray[np.uint32]:
        """CRC-32 of some rows' files, none of which is decoded; 0 for a row without one.

        Raises:
            OSError: If a file cannot be read.
        """
        found = np.zeros(len(rows), dtype=np.uint32)
        for i, row in enumerate(rows.tolist()):
            path = self._paths[row]
            for file in () if path is None else self._source.files(path):
                with opened(file) as content:
                    while piece := content.read(2**20):
                        found[i] = zlib.crc32(piece, int(found[i]))
        return found

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
