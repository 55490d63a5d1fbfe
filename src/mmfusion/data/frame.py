"""A table's cases: columns in memory, images there or mapped from disk; what the datasets are made of."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.cases import ByModality, Cases, check_classes, first_case
from mmfusion.data.images.checksums import checksums
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.rows import MappedRows, Rows
from mmfusion.spec import Classes, DataSpec
from mmfusion.tokens import Content, Table

_ALL = slice(None)


class FrameDataset:
    """A :class:`~mmfusion.data.cases.CaseDataset` of tensors, beside the table that they came from.

    Args:
        spec: Modalities and targets.
        frame: One row a case; kept for reports, not read again.
        images: By image modality, shape ``(n, channels, *spatial)``; uint8 (0 to 255 becomes 0 to 1), or float of any
            width. Tensors, :class:`~mmfusion.data.images.rows.Rows`, or arrays, such as
            ``numpy.load(..., mmap_mode="r")``: of those no more is read than a batch's rows.
        tables: By table modality, ``n`` rows.
        targets: By target, ``n`` rows; empty for cases without labels.
        present: By modality, shape ``(n,)`` bool, True is there; a modality left out is there for all.
        ids: A unique name for each case; None: the row labels.
        groups: The patient or lesion of each case; None: each case is its own group.
        intensities: By image modality, how its values are scaled when cases are read; left out: as they are.

    Raises:
        ValueError: If names or shapes do not fit the spec, lengths differ, or a case's name occurs twice.
    """

    def __init__(
        self,
        spec: DataSpec,
        frame: pd.DataFrame,
        *,
        images: Mapping[str, Tensor | Rows | NDArray[Any]],
        tables: Mapping[str, Table],
        targets: Mapping[str, Tensor],
        present: Mapping[str, Tensor] | None = None,
        ids: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        intensities: Mapping[str, Intensity] | None = None,
    ) -> None:
        n = len(frame)
        self._spec = spec
        self._frame = frame
        self._images: dict[str, Tensor | Rows] = {
            name: MappedRows(image) if isinstance(image, np.ndarray) else image for name, image in images.items()
        }
        self._tables = dict(tables)
        self._targets = dict(targets)
        everyone = torch.ones(n, dtype=torch.bool)
        self._present = {name: (present or {}).get(name, everyone) for name in spec.names}
        self._ids = [str(row) for row in frame.index] if ids is None else list(ids)
        self._groups = list(self._ids) if groups is None else list(groups)
        # The cases of this dataset, as rows of the storage: a subset differs from its parent in this alone.
        self._rows = torch.arange(n)
        self._left_out: frozenset[str] = frozenset()
        self._stored = False
        self._intensities = dict(intensities or {})
        self._check(n)

    def _check(self, n: int) -> None:
        for kind, held, wanted in (
            ("images", self._images, self._spec.images),
            ("tables", self._tables, self._spec.tables),
            ("targets", self._targets, self._spec.targets if self._targets else {}),
        ):
            if set(held) != set(wanted):
                raise ValueError(f"expected {kind} {sorted(wanted)} as in the spec, got {sorted(held)}")
        lengths = {"ids": len(self._ids), "groups": len(self._groups)}
        lengths |= {f"target {name!r}": len(values) for name, values in self._targets.items()}
        lengths |= {f"presence of {name!r}": len(values) for name, values in self._present.items()}
        for name, image in self._images.items():
            lengths[f"image {name!r}"] = len(image)
            if tuple(image.shape[1:]) != self._spec[name].shape:
                raise ValueError(
                    f"image {name!r} expects shape (n, *{self._spec[name].shape}), got {tuple(image.shape)}"
                )
        for name, table in self._tables.items():
            columns = self._spec[name]
            lengths[f"table {name!r}"] = len(table.numerical)
            widths = (len(columns.numerical), len(columns.categorical))
            if (table.numerical.shape[1], table.categorical.shape[1]) != widths:
                raise ValueError(
                    f"table {name!r} expects {widths[0]} numerical and {widths[1]} categorical columns, "
                    f"got {table.numerical.shape[1]} and {table.categorical.shape[1]}"
                )
        wrong = {name: length for name, length in lengths.items() if length != n}
        if wrong:
            raise ValueError(f"the table has {n} rows, but got {wrong}")
        for name, target in self._spec.targets.items():
            if isinstance(target, Classes) and name in self._targets:
                check_classes(f"target {name!r}", self._targets[name], target.n)
        if len(set(self._ids)) != n:
            repeated, times = Counter(self._ids).most_common(1)[0]
            raise ValueError(f"each case needs a name of its own, but {repeated!r} occurs {times} times")

    @property
    def spec(self) -> DataSpec:
        """Modalities and targets."""
        return self._spec

    @property
    def frame(self) -> pd.DataFrame:
        """The table's rows, in the order of the cases."""
        return self._frame.iloc[self._rows.numpy()]

    @property
    def ids(self) -> list[str]:
        """The name of each case."""
        return [self._ids[row] for row in self._rows.tolist()]

    @property
    def groups(self) -> list[str]:
        """The patient or lesion of each case."""
        return [self._groups[row] for row in self._rows.tolist()]

    @property
    def intensities(self) -> dict[str, Intensity]:
        """By image modality, how its values are scaled when cases are read; those that stay as they are left out."""
        return {name: one for name, one in self._intensities.items() if not one.idle}

    def labels(self, target: str) -> Tensor:
        """All values of one target, shape ``(len(self),)`` for classes.

        Raises:
            ValueError: If there is no such target, or the cases were read without labels.
        """
        if target not in self._targets:
            there = sorted(self._targets) or "none, since the cases were read without labels"
            raise ValueError(f"no target {target!r}; there are: {there}")
        return self._targets[target][self._rows]

    def pixels(self, modality: str, rows: slice = _ALL) -> Tensor:
        """Images of one modality as they are stored, shape ``(n, channels, *spatial)``.

        Args:
            modality: Its name.
            rows: Which of this dataset's cases; all of them at once may not fit into memory.

        Raises:
            ValueError: If there is no such image modality.
        """
        if modality not in self._images:
            raise ValueError(f"no image modality {modality!r}; there are: {sorted(self._images)}")
        return self._images[modality][self._rows[rows]]

    def present(self, modality: str) -> Tensor:
        """Which cases have a modality, shape ``(len(self),)`` bool.

        Raises:
            ValueError: If there is no such modality.
        """
        if modality not in self._present:
            raise ValueError(f"no modality {modality!r}; there are: {sorted(self._present)}")
        return self._present[modality][self._rows]

    def cells(self, modality: str) -> Table:
        """All rows of a table modality, as models see them.

        Raises:
            ValueError: If there is no such table.
        """
        if modality not in self._tables:
            raise ValueError(f"no table modality {modality!r}; there are: {sorted(self._tables)}")
        table = self._tables[modality]
        return Table(table.numerical[self._rows], table.categorical[self._rows])

    def image_checksums(self, modality: str) -> tuple[str, NDArray[np.uint32]]:
        """What tells whether images are the same as at another time; none is decoded.

        Returns:
            Of what they are, ``"pixels"`` as they are stored, or ``"files"`` where each batch decodes its own; and by
            case CRC-32, 0 without the image, shape ``(len(self),)``.

        Raises:
            ValueError: If there is no such image modality.
        """
        if modality not in self._images:
            raise ValueError(f"no image modality {modality!r}; there are: {sorted(self._images)}")
        kind, found = checksums(self._images[modality], self._rows)
        return kind, np.where(self.present(modality).numpy(), found, 0).astype(np.uint32)

    def without(self, images: Collection[str]) -> "FrameDataset":
        """The same cases, whose inputs leave some image modalities out.

        Raises:
            ValueError: If there is no such image modality.
        """
        if unknown := sorted(set(images) - set(self._images)):
            raise ValueError(f"no image modality {unknown}; there are: {sorted(self._images)}")
        part = object.__new__(FrameDataset)
        part.__dict__.update(self.__dict__)
        part._left_out = self._left_out | frozenset(images)
        return part

    def fitted(self, intensities: Mapping[str, Intensity]) -> dict[str, Intensity]:
        """Intensities that have learnt from these cases' images what they need."""
        found = {}
        for name, one in intensities.items():
            # Rows of the storage, read a few at a time: all of them may not fit into memory.
            ours = torch.zeros(len(self._images[name]), dtype=torch.bool)
            ours[self._rows] = self._present[name][self._rows]
            found[name] = one.fit(self._images[name], ours)
        return found

    def scaled(self, intensities: Mapping[str, Intensity]) -> "FrameDataset":
        """The same cases, whose images are scaled so when they are read."""
        part = object.__new__(FrameDataset)
        part.__dict__.update(self.__dict__)
        part._intensities = dict(intensities)
        return part

    def stored(self) -> "FrameDataset":
        """The same cases, whose images come as they are stored, to be made floats by :func:`as_floats`.

        For those who do that where the batch is used: on the way there, from the processes that read and to the device,
        bytes are a quarter of what floats would be. Images that are scaled come as scaled floats.
        """
        part = object.__new__(FrameDataset)
        part.__dict__.update(self.__dict__)
        part._stored = True
        return part

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> "FrameDataset":
        """Some of the cases, in the order given, over the same storage.

        Args:
            indices: Positions in this dataset.

        Returns:
            A dataset whose positions count anew from 0.

        Raises:
            IndexError: If a position is out of range.
        """
        chosen = torch.as_tensor(np.asarray(indices, dtype=np.int64))
        part = object.__new__(FrameDataset)
        part.__dict__.update(self.__dict__)
        part._rows = self._rows[chosen]
        return part

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Cases:
        """One case, without a batch axis."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"case {index} of a dataset of {len(self)}")
        return first_case(self.__getitems__([index % len(self)]))

    def __getitems__(self, indices: Sequence[int]) -> Cases:
        """A batch, read at once."""
        position = torch.as_tensor(indices, dtype=torch.int64)
        rows = self._rows[position]
        inputs: dict[str, Content] = {}
        for name in self._spec.names:
            if name in self._tables:
                table = self._tables[name]
                inputs[name] = Table(table.numerical[rows], table.categorical[rows])
            elif name not in self._left_out:
                held = self._images[name]
                image = held.index_select(0, rows) if isinstance(held, Tensor) else held[rows]
                intensity = self._intensities.get(name)
                if intensity is not None and not intensity.idle:
                    inputs[name] = intensity(image)
                else:
                    inputs[name] = image if self._stored else as_floats(image)
        return Cases(
            ByModality(inputs),
            {name: values[rows] for name, values in self._present.items()},
            {name: values[rows] for name, values in self._targets.items()},
            position,
        )


def as_floats(image: Tensor) -> Tensor:
    """Stored pixels as a model takes them: bytes from 0 to 1, floating-point numbers as they are, in float32."""
    if image.dtype != torch.uint8:
        return image.float()
    # By a number, CUDA would multiply with the inverse, and give other bits than the CPU.
    return image.float().div_(torch.full((), 255.0, device=image.device))
