"""Cases: the item and batch type of all datasets, with collation."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data._utils.collate import default_collate, default_collate_fn_map

from mmfusion.spec import DataSpec
from mmfusion.tokens import Bag, Content, Maps, Table


class ByModality(dict[str, Content]):
    """Inputs of a batch that was read at once; torch's default collation recognizes such a batch by this type."""


class Cases(NamedTuple):
    """A batch of cases; a single case has no batch axis.

    Attributes:
        inputs: By modality: image ``(b, channels, *spatial)`` float32, photographs in [0, 1] (the backbone applies the
            normalization of its weights), or a :class:`~mmfusion.tokens.Bag` of several, or their
            :class:`~mmfusion.tokens.Maps` if they were computed before, or :class:`~mmfusion.tokens.Table`.
        present: By modality, ``(b,)`` bool; True is present. Every modality has an entry.
        targets: By target; class indices ``(b,)`` int64.
        position: Shape ``(b,)`` int64, the position in the dataset.
        aux: Tensors that augmentation passes to the losses, by name; None: none.
    """

    inputs: dict[str, Content]
    present: dict[str, Tensor]
    targets: dict[str, Tensor]
    position: Tensor
    aux: Mapping[str, Tensor] | None = None


class CaseDataset(Protocol):
    """A map-style dataset of cases.

    ``__getitems__`` reads a whole batch at once: torch's DataLoader calls it if it exists, without a Python loop over
    the cases of a batch. Nothing is random here: augmentation acts on batches afterwards. What a dataset may offer
    beyond this is declared by :class:`SelectiveCases`, :class:`StoredCases` and :class:`MaskedCases`.
    """

    @property
    def spec(self) -> DataSpec:
        """Modalities and targets."""

    @property
    def ids(self) -> Sequence[str]:
        """The name of each case, unique within the dataset."""

    @property
    def groups(self) -> Sequence[str]:
        """The patient or lesion of each case; the cases' names without grouping."""

    def labels(self, target: str) -> Tensor:
        """All values of one target, shape ``(len(self),)`` for classes."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Cases:
        """One case, without a batch axis."""

    def __getitems__(self, indices: Sequence[int]) -> Cases:
        """A batch."""


@runtime_checkable
class SelectiveCases(CaseDataset, Protocol):
    """A dataset that can leave images unread."""

    def without(self, images: Collection[str]) -> CaseDataset:
        """The same cases without some image modalities in their inputs."""


@runtime_checkable
class StoredCases(CaseDataset, Protocol):
    """A dataset that keeps its table and its images, as :class:`~mmfusion.data.frame.FrameDataset`."""

    @property
    def frame(self) -> pd.DataFrame:
        """The table's rows, in the order of the cases."""

    @property
    def intensities(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """Scaling of intensities by image modality, without those that change nothing."""

    def pixels(self, modality: str, rows: slice) -> Tensor:
        """Images of one modality as they are stored, shape ``(n, channels, *spatial)``; of bags all of the cases."""

    def n_images(self, modality: str, rows: slice) -> Tensor:
        """Number of images of each case in :meth:`pixels`, shape ``(n,)`` int64."""

    def stored(self) -> CaseDataset:
        """The same cases with images as they are stored, to be converted by ``as_floats``."""


@runtime_checkable
class MaskedCases(CaseDataset, Protocol):
    """A dataset that may know where in an image something is, such as a lesion."""

    def mask(self, modality: str, index: int) -> Tensor | None:
        """Shape ``(*spatial)`` bool, the size of the modality's images, True inside; None where it is unknown."""


def without_images(dataset: CaseDataset, images: Collection[str]) -> CaseDataset:
    """The same cases, of which some image modalities need not be read.

    Args:
        dataset: The cases.
        images: Names of image modalities.

    Returns:
        The dataset without them; the dataset as it is, if it is no :class:`SelectiveCases`.
    """
    return dataset.without(images) if isinstance(dataset, SelectiveCases) else dataset


def check_classes(what: str, labels: Tensor, n_classes: int) -> None:
    """Check that all labels are classes.

    Args:
        what: The labels, for the message.
        labels: Shape ``(n,)``.
        n_classes: Number of classes.

    Raises:
        ValueError: If a label is not in 0..k-1; gives the first with its row, and the number of further ones.
    """
    wrong = ((labels < 0) | (labels >= n_classes)).nonzero().flatten()
    if len(wrong):
        raise ValueError(
            f"{what} expects classes from 0 to {n_classes - 1}, got {labels[wrong[0]].item()} in row {int(wrong[0])}"
            + (f" and {len(wrong) - 1} more" if len(wrong) > 1 else "")
            + ": leave out cases without a label"
        )


def first_case(batch: Cases) -> Cases:
    """The first case of a batch, without a batch axis."""

    def first(content: Content) -> Content:
        if isinstance(content, Maps):
            return Maps(tuple(stage[0] for stage in content.stages))
        if isinstance(content, Bag):
            return Bag(content.x[0], content.mask[0])
        return Table(content.numerical[0], content.categorical[0]) if isinstance(content, Table) else content[0]

    return Cases(
        {name: first(content) for name, content in batch.inputs.items()},
        {name: row[0] for name, row in batch.present.items()},
        {name: row[0] for name, row in batch.targets.items()},
        batch.position[0],
    )


def collate(cases: "Sequence[Cases] | Cases") -> Cases:
    """Stack single cases to a batch; a batch is returned unchanged.

    Args:
        cases: Single cases, or a batch.

    Returns:
        A batch.
    """
    if isinstance(cases, Cases):
        return cases
    # Single cases have no tensors for the losses; torch stacks all else.
    fields = zip(*(case[:4] for case in cases), strict=True)
    return Cases(*(default_collate(list(values)) for values in fields))  # type: ignore[no-untyped-call]  # torch's


def _as_read(batch: Sequence[Any], **_: Any) -> Any:
    # torch gets the whole batch from a dataset with __getitems__; its first entry is the inputs.
    if isinstance(batch, Cases):
        return batch
    return default_collate([dict(inputs) for inputs in batch])  # type: ignore[no-untyped-call]  # torch's


def _single(batch: Sequence[Cases], **_: Any) -> Cases:
    return collate(batch)


def _maps(batch: Sequence[Maps], **_: Any) -> Maps:
    stages = zip(*(maps.stages for maps in batch), strict=True)
    return Maps(tuple(torch.stack(stage) for stage in stages))


def _bags(batch: Sequence[Bag], **_: Any) -> Bag:
    # Without a batch axis: (k, channels, *spatial), and k differs.
    width = max(len(bag.mask) for bag in batch)
    x = batch[0].x.new_zeros((len(batch), width, *batch[0].x.shape[1:]))
    mask = batch[0].mask.new_zeros((len(batch), width))
    for i, bag in enumerate(batch):
        x[i, : len(bag.mask)], mask[i, : len(bag.mask)] = bag.x, bag.mask
    return Bag(x, mask)


# So that DataLoader(bundle.train, batch_size=16) needs no collate_fn.
default_collate_fn_map[ByModality] = _as_read
default_collate_fn_map[Cases] = _single
default_collate_fn_map[Maps] = _maps
default_collate_fn_map[Bag] = _bags
