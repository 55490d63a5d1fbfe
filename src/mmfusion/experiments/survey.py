"""A run's cases as they are when it starts: which lack an image, and a digest of what each column holds.

Digests alone are kept, no label, cell or pixel.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmfusion.data.bundle import DataBundle
from mmfusion.data.cases import CaseDataset
from mmfusion.data.frame import FrameDataset
from mmfusion.models.selective import modalities_of

_INSPECTED = 32
"""Training images of a modality whose pixels are looked at."""

Digests = dict[str, dict[str, str]]
"""By kind (``"labels"``, ``"columns"``, ``"images"``) and name, a digest over all sets."""


@dataclass(frozen=True)
class Survey:
    """Properties of the cases.

    Attributes:
        absent: By image modality and set, how many cases lack the image; empty without images, and for datasets other
            than a :class:`~mmfusion.data.frame.FrameDataset`, of which it is not known without reading them.
        notes: What a reader of the results must know of it, one sentence each.
        digests: Of labels, of the table's columns and of images.
    """

    absent: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    digests: Digests


def survey(bundle: DataBundle) -> Survey:
    """Look at all cases once. Of images their checksums alone, which a cache keeps."""
    sets = {"train": bundle.train, "validation": bundle.validation, "test": bundle.test}
    digests: Digests = {"labels": {name: _labels(sets, name) for name in bundle.spec.targets}}
    frames = {name: part for name, part in sets.items() if isinstance(part, FrameDataset)}
    if len(frames) < len(sets):
        return Survey({}, (), digests)
    digests["columns"] = {}
    for modality in bundle.spec.tables:
        digests["columns"] |= _columns(frames, modality)
    for subgroup in bundle.subgroups:
        cells = [
            part.frame[subgroup.column].astype(str).tolist()
            for part in frames.values()
            if subgroup.column in part.frame
        ]
        digests["columns"].setdefault(subgroup.column, _digest(repr(cells).encode()))
    digests["images"], notes = {}, []
    absent = {
        name: {key: int((~part.present(name)).sum()) for key, part in frames.items()} for name in bundle.spec.images
    }
    for name in bundle.spec.images:
        sums = {key: part.image_checksums(name) for key, part in frames.items()}
        kinds = {kind for kind, _ in sums.values()}
        checksums = b"".join(_bytes(values) + b"|" for _, values in sums.values())
        digests["images"][name] = f"{'+'.join(sorted(kinds))}:{_digest(checksums)}"
        notes += _of_absent(name, absent[name], frames)
        notes += _of_constant(name, frames["train"], sums["train"][1])
    return Survey(absent, tuple(notes), digests)


def check_images(survey: Survey, bundle: DataBundle, model: nn.Module, root: str | None) -> None:
    """Raise an error if the model uses an image that no training case has.

    Args:
        survey: From :func:`survey`.
        bundle: What it is of.
        model: It uses all modalities or, as a :class:`~mmfusion.models.selective.Selective`, some.
        root: The folder of the images, as the settings have it.

    Raises:
        FileNotFoundError: Naming the images, their columns and the root.
    """
    names, n = modalities_of(model, bundle.spec), len(bundle.train)
    lacking = [name for name, of in survey.absent.items() if of["train"] == n and name in names]
    if lacking:
        sources = bundle.reader.images
        listed = ", ".join(
            f"{name!r}" + (f" (column {sources[name].column!r})" if name in sources else "") for name in lacking
        )
        where = "the working folder, or that of the table" if root is None else str(root)
        raise FileNotFoundError(
            f"none of the {n} training cases has the image {listed}, looked for in {where}, and the model looks at it: "
            "give the folder that holds the images by run.root, or leave the image out"
        )


def differences(before: Any, now: Digests) -> list[str]:
    """What is different from a recorded survey, in words; empty where nothing is, or nothing was recorded.

    Args:
        before: Digests as ``case.json`` has them.
        now: Those of the cases as they are.
    """
    if not isinstance(before, dict):
        return []
    phrases = {"labels": "the labels of {!r}", "columns": "the table's column {!r}", "images": "the images {!r}"}
    changed = []
    for kind, words in phrases.items():
        old, new = before.get(kind), now.get(kind)
        if isinstance(old, dict) and isinstance(new, dict):
            names = [name for name in dict.fromkeys((*old, *new)) if _differ(old.get(name), new.get(name))]
            changed += [words.format(name) for name in names]
    return changed


def _differ(old: str | None, new: str | None) -> bool:
    """Sums of pixels and of files, with and without a cache, cannot be compared."""
    if old and new and ":" in old and ":" in new and old.partition(":")[0] != new.partition(":")[0]:
        return False
    return old != new


def _labels(sets: Mapping[str, CaseDataset], target: str) -> str:
    return _digest(b"|".join(_bytes(part.labels(target).numpy()) for part in sets.values()))


def _columns(sets: Mapping[str, FrameDataset], modality: str) -> dict[str, str]:
    """A digest per column of a table modality."""
    tables = [part.cells(modality) for part in sets.values()]
    present = b"|".join(_bytes(part.present(modality).numpy()) for part in sets.values())
    columns = next(iter(sets.values())).spec[modality]
    digests = {}
    for i, name in enumerate(columns.numerical):
        # One NaN, however it was computed.
        values = [np.nan_to_num(t.numerical[:, i].numpy(), nan=np.inf, posinf=np.inf) for t in tables]
        digests[name] = _digest(present + b"|".join(map(_bytes, values)))
    for i, (name, _) in enumerate(columns.categorical):
        digests[name] = _digest(present + b"|".join(_bytes(t.categorical[:, i].numpy()) for t in tables))
    return digests


def _of_absent(name: str, absent: Mapping[str, int], sets: Mapping[str, FrameDataset]) -> list[str]:
    if not any(absent.values()):
        return []
    counts = ", ".join(f"{absent[key]} of {len(part)} in {key}" for key, part in sets.items())
    return [f"The image {name!r} is absent: {counts}."]


def _of_constant(name: str, train: FrameDataset, sums: NDArray[np.uint32]) -> list[str]:
    """A note where the training images say nothing: all are one, or each has one value in all pixels."""
    rows = np.flatnonzero(train.present(name).numpy())
    if len(rows) < 2:
        return []
    # Where not all sums were taken the others are 0.
    if len(set(sums[rows].tolist())) == 1 and sums[rows[0]]:
        return [
            f"The image {name!r} is the same in all {len(rows)} training cases that have it: look at its column and at "
            "the files."
        ]
    some = rows[:: -(-len(rows) // _INSPECTED)]
    if all(_flat(train.pixels(name, slice(int(row), int(row) + 1))) for row in some):
        return [f"The image {name!r} has one value in all pixels, in each of {len(some)} training cases looked at."]
    return []


def _flat(pixels: torch.Tensor) -> bool:
    return bool((pixels == pixels.flatten()[0]).all())


def _bytes(values: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
