"""Dataset of a table's cases: columns in memory, images in memory or mapped from disk."""

import copy
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfusion.data.cases import ByModality, Cases, check_classes, first_case
from mmfusion.data.images.bag_rows import BagRows
from mmfusion.data.images.checksums import checksums
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.masks import RegionMasks
from mmfusion.data.images.rows import MappedRows, Rows
from mmfusion.spec import Classes, DataSpec
from mmfusion.tokens import Bag, Content, Table

T = TypeVar("T")
_ALL = slice(None)


class FrameDataset:
    """A :class:`~mmfusion.data.cases.CaseDataset` of tensors, with the table that they come from.

    Args:
        spec: Modalities and targets.
        frame: One row per case; kept for reports, not read again.
        images: By image modality, shape ``(n, channels, *spatial)``; uint8 (0 to 255 becomes 0 to 1), or float of any
            width. Tensors, :class:`~mmfusion.data.images.rows.Rows`, or arrays, such as
            ``numpy.load(..., mmap_mode="r")``, of which only the rows of a batch are read; and
            :class:`~mmfusion.data.images.bag_rows.BagRows` where the spec's ``bag`` is above 1.
        tables: By table modality, ``n`` rows.
        targets: By target, ``n`` rows; empty for cases without labels.
        present: By modality, shape ``(n,)`` bool, True is present; other modalities are present in all cases.
        ids: A unique name for each case; None: the row labels.
        groups: The patient or lesion of each case; None: each case is its own group.
        intensities: Scaling of intensities by image modality, applied when cases are read; others are not scaled.

    Raises:
        ValueError: If names or shapes do not fit the spec, lengths differ, or a case's name occurs twice.
    """

    def __init__(
        self,
        spec: DataSpec,
        frame: pd.DataFrame,
        *,
        images: Mapping[str, Tensor | Rows | BagRows | NDArray[Any]],
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
        self._images: dict[str, Tensor | Rows | BagRows] = {
            name: MappedRows(image) if isinstance(image, np.ndarray) else image for name, image in images.items()
        }
        self._tables = dict(tables)
        self._targets = dict(targets)
        everyone = torch.ones(n, dtype=torch.bool)
        self._present = {name: (present or {}).get(name, everyone) for name in spec.names}
        # A case with an empty bag lacks it.
        for name, image in self._images.items():
            if isinstance(image, BagRows) and len(image) == len(self._present[name]):
                self._present[name] = self._present[name] & (image.sizes > 0)
        self._ids = [str(row) for row in frame.index] if ids is None else list(ids)
        self._groups = list(self._ids) if groups is None else list(groups)
        # The cases of this dataset, as rows of the storage: a subset differs from its parent in this alone.
        self._rows = torch.arange(n)
        self._left_out: frozenset[str] = frozenset()
        self._stored = False
        self._intensities = dict(intensities or {})
        self._masks: dict[str, RegionMasks] = {}
        self._check(n)

    def _check(self, n: int) -> None:
        for kind, given, expected in (
            ("images", self._images, self._spec.images),
            ("tables", self._tables, self._spec.tables),
            ("targets", self._targets, self._spec.targets if self._targets else {}),
        ):
            if set(given) != set(expected):
                raise ValueError(f"expected {kind} {sorted(expected)} as in the spec, got {sorted(given)}")
        lengths = {"ids": len(self._ids), "groups": len(self._groups)}
        lengths |= {f"target {name!r}": len(values) for name, values in self._targets.items()}
        lengths |= {f"presence of {name!r}": len(values) for name, values in self._present.items()}
        for name, image in self._images.items():
            lengths[f"image {name!r}"] = len(image)
            if tuple(image.shape[1:]) != self._spec[name].shape:
                raise ValueError(
                    f"image {name!r} expects shape (n, *{self._spec[name].shape}), got {tuple(image.shape)}"
                )
            most = self._spec[name].bag
            if isinstance(image, BagRows) != (most > 1):
                raise ValueError(
                    f"image {name!r} has bag={most} in the spec: expected {'BagRows' if most > 1 else 'one image'} per "
                    f"case, got {type(image).__name__}"
                )
            if isinstance(image, BagRows) and len(image) and int(image.sizes.max()) > most:
                raise ValueError(
                    f"image {name!r} has at most {most} per case in the spec (bag), got {int(image.sizes.max())}"
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
            raise ValueError(f"names of cases must be unique, but {repeated!r} occurs {times} times")

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
        """Scaling of intensities by image modality, without those that change nothing."""
        return {name: intensity for name, intensity in self._intensities.items() if not intensity.idle}

    def labels(self, target: str) -> Tensor:
        """All values of one target, shape ``(len(self),)`` for classes.

        Raises:
            ValueError: If the target is unknown, or the cases were read without labels.
        """
        if target not in self._targets:
            valid = ", ".join(sorted(self._targets)) or "none, since the cases were read without labels"
            raise ValueError(f"unknown target {target!r}; valid: {valid}")
        return self._targets[target][self._rows]

    def pixels(self, modality: str, rows: slice = _ALL) -> Tensor:
        """Images of one modality as they are stored, shape ``(n, channels, *spatial)``.

        Of bags all images of the cases, one case's after another's; :meth:`n_images` says how many each has.

        Args:
            modality: Name of the image modality.
            rows: Cases of this dataset; all at once may not fit into memory.

        Raises:
            ValueError: If the image modality is unknown.
        """
        stored, chosen = _entry(self._images, modality, "image modality"), self._rows[rows]
        return stored.all_images(chosen) if isinstance(stored, BagRows) else stored[chosen]

    def n_images(self, modality: str, rows: slice = _ALL) -> Tensor:
        """Number of images of each case in :meth:`pixels`, shape ``(n,)`` int64.

        It is 1 for a modality of one image per case, also where a case lacks it and its pixels are zeros.

        Raises:
            ValueError: If the image modality is unknown.
        """
        stored, chosen = _entry(self._images, modality, "image modality"), self._rows[rows]
        return stored.sizes[chosen] if isinstance(stored, BagRows) else torch.ones_like(chosen)

    def present(self, modality: str) -> Tensor:
        """Whether each case has a modality, shape ``(len(self),)`` bool.

        Raises:
            ValueError: If the modality is unknown.
        """
        return _entry(self._present, modality, "modality")[self._rows]

    def cells(self, modality: str) -> Table:
        """All rows of a table modality, as model inputs.

        Raises:
            ValueError: If the table modality is unknown.
        """
        table = _entry(self._tables, modality, "table modality")
        return Table(table.numerical[self._rows], table.categorical[self._rows])

    def mask(self, modality: str, index: int) -> Tensor | None:
        """Mask of a region in a case's image, such as its lesion: read from its file, or of a synthetic dataset where
        the cues are that the image shows.

        Args:
            modality: Name of the image modality.
            index: Position in this dataset.

        Returns:
            Shape ``size`` bool, resized as the image is, True inside; None if the dataset or the case has no mask, or
            the case lacks the image.

        Raises:
            ValueError: If the image modality is unknown, or the file is damaged or does not fit the image; names it.
            IndexError: If the position is out of range.
        """
        _entry(self._images, modality, "image modality")
        if not -len(self) <= index < len(self):
            raise IndexError(f"case {index} of a dataset of {len(self)}")
        masks = self._masks.get(modality)
        return None if masks is None else masks[int(self._rows[index])]

    def masked(self, masks: Mapping[str, RegionMasks]) -> "FrameDataset":
        """The same cases with masks of regions in their images.

        Args:
            masks: By image modality, one per row of the storage: not for subsets.

        Raises:
            ValueError: If the image modality is unknown, or the number of masks is not that of the cases.
        """
        for name, of_cases in masks.items():
            stored = len(_entry(self._images, name, "image modality"))
            if len(of_cases) != stored or len(self) != stored:
                raise ValueError(f"masks of {name!r} expect one per case, got {len(of_cases)} for {len(self)} cases")
        return self._changed(_masks=dict(masks))

    def image_checksums(self, modality: str) -> tuple[str, NDArray[np.uint32]]:
        """Checksums of images, to compare them with those of another run; no image is decoded.

        Returns:
            What is summed: ``"pixels"`` as they are stored, or ``"files"`` if images are decoded batch by batch; and
            CRC-32 of each case, 0 without the image, shape ``(len(self),)``; of a bag that of its images' sums.

        Raises:
            ValueError: If the image modality is unknown.
        """
        stored = _entry(self._images, modality, "image modality")
        if isinstance(stored, BagRows):
            kind, stored_sums = checksums(stored.images, stored.places(self._rows))
            ends = self.n_images(modality).cumsum(0).numpy()
            stored_sums = np.array([zlib.crc32(sums.tobytes()) for sums in np.split(stored_sums, ends)[:-1]], np.uint32)
        else:
            kind, stored_sums = checksums(stored, self._rows)
        return kind, np.where(self.present(modality).numpy(), stored_sums, 0).astype(np.uint32)

    def without(self, images: Collection[str]) -> "FrameDataset":
        """The same cases without some image modalities in their inputs.

        Raises:
            ValueError: If the image modality is unknown.
        """
        for name in images:
            _entry(self._images, name, "image modality")
        return self._changed(_left_out=self._left_out | frozenset(images))

    def fitted(self, intensities: Mapping[str, Intensity]) -> dict[str, Intensity]:
        """Intensities fitted on the images of these cases."""
        fitted = {}
        for name, intensity in intensities.items():
            # Rows of the storage, read in chunks: all of them may not fit into memory.
            chosen = torch.zeros(len(self._images[name]), dtype=torch.bool)
            chosen[self._rows] = self._present[name][self._rows]
            stored = self._images[name]
            if isinstance(stored, BagRows):
                fitted[name] = intensity.fit(stored.images, torch.repeat_interleave(chosen, stored.sizes))
            else:
                fitted[name] = intensity.fit(stored, chosen)
        return fitted

    def scaled(self, intensities: Mapping[str, Intensity]) -> "FrameDataset":
        """The same cases with another scaling of intensities."""
        return self._changed(_intensities=dict(intensities))

    def stored(self) -> "FrameDataset":
        """The same cases with images as they are stored, to be converted by :func:`as_floats`.

        Bytes are a quarter of the size of floats between worker processes and on the way to the device. Images whose
        intensities are scaled are floats.
        """
        return self._changed(_stored=True)

    def subset(self, indices: Sequence[int] | np.ndarray | Tensor) -> "FrameDataset":
        """Some of the cases, in the given order, over the same storage.

        Args:
            indices: Positions in this dataset.

        Returns:
            A dataset with positions from 0.

        Raises:
            IndexError: If a position is out of range.
        """
        return self._changed(_rows=self._rows[torch.as_tensor(np.asarray(indices, dtype=np.int64))])

    def _changed(self, **attributes: Any) -> "FrameDataset":
        """A copy over the same storage with other attributes."""
        dataset = copy.copy(self)
        dataset.__dict__.update(attributes)
        return dataset

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
                stored = self._images[name]
                image = stored.index_select(0, rows) if isinstance(stored, Tensor) else stored[rows]
                inputs[name] = (
                    Bag(self._read(name, image.x), image.mask) if isinstance(image, Bag) else self._read(name, image)
                )
        return Cases(
            ByModality(inputs),
            {name: values[rows] for name, values in self._present.items()},
            {name: values[rows] for name, values in self._targets.items()},
            position,
        )

    def _read(self, name: str, images: Tensor) -> Tensor:
        """Images or bags of them, scaled as their modality is."""
        intensity = self._intensities.get(name)
        if intensity is None or intensity.idle:
            return images if self._stored else as_floats(images)
        shape = self._spec[name].shape
        return intensity(images.reshape(-1, *shape)).view(images.shape)


def _entry(values: Mapping[str, T], name: str, kind: str) -> T:
    if name not in values:
        raise ValueError(f"unknown {kind} {name!r}; valid: {', '.join(sorted(values)) or 'none'}")
    return values[name]


def as_floats(image: Tensor) -> Tensor:
    """Stored pixels as float32: bytes are scaled to [0, 1], floating-point numbers are kept."""
    if image.dtype != torch.uint8:
        return image.float()
    # Dividing by a Python number, CUDA would multiply by the inverse, and give other bits than the CPU.
    return image.float().div_(torch.full((), 255.0, device=image.device))
