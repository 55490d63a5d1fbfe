"""Images that are not in memory: what a dataset reads a batch of them from."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from mmfusion.data.sources import Source


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
    """Rows of an array that is mapped into memory: the system reads what is asked for, once for all processes.

    Args:
        array: Shape ``(slots, channels, *spatial)``; a ``numpy.memmap`` travels to other processes as its file's name.
        slots: The slot of each row, shape ``(n,)`` int64, -1 for a row that has none: it is all zeros; None: row i in
            slot i.
        hold: Kept as long as the rows are, and pickled with them: what keeps the file in place.
    """

    def __init__(self, array: NDArray[Any], slots: NDArray[np.int64] | None = None, hold: Any = None) -> None:
        self._array = array
        self._slots = slots
        self._hold = hold

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
        """A copy of some rows."""
        # As a plain array: numpy would wrap every selection of a mapped one.
        array = self._array.view(np.ndarray)
        if self._slots is None:
            return torch.from_numpy(array[rows.numpy()])
        slots = self._slots[rows.numpy()]
        there = slots >= 0
        if there.all():
            return torch.from_numpy(array[slots])
        out = np.zeros((len(slots), *array.shape[1:]), dtype=array.dtype)
        out[there] = array[slots[there]]
        return torch.from_numpy(out)

    def __getstate__(self) -> dict[str, Any]:
        array: Any = self._array
        # A part of a mapped array does not know where in the file it begins.
        whole = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.flags["C_CONTIGUOUS"]
        if whole and array.filename is not None:
            array = (str(array.filename), array.dtype.str, array.shape, array.offset)
        return {"array": array, "slots": self._slots, "hold": self._hold}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._slots, self._hold, array = state["slots"], state["hold"], state["array"]
        if isinstance(array, tuple):
            name, dtype, shape, offset = array
            array = np.memmap(name, mode="r", dtype=dtype, shape=shape, offset=offset)
        self._array = array


class DecodedRows:
    """Rows that are decoded from their files each time that they are asked for: slow, and without bounds.

    Args:
        source: Decodes.
        paths: The file of each row; None where there is none: the row is all zeros.
    """

    def __init__(self, source: "Source", paths: Sequence[Path | None]) -> None:
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
