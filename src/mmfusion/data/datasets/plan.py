"""Plan of a dataset before images are decoded: table, files and split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from mmfusion.data.bundle import DataBundle
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.masks import Masks
from mmfusion.data.images.sources import Missing
from mmfusion.data.reader import CaseReader, Progress
from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.data.schema.table_schema import TableSchema
from mmfusion.data.splits import SETS, Split


@dataclass(frozen=True)
class Plan:
    """Everything about a dataset except its images.

    Attributes:
        name: The registered name.
        frame: One row per case.
        root: The folder that image names are relative to.
        reader: With what was fitted on the training rows.
        split: Positions in the frame.
        published: Number of cases in the published data, by set or ``"all"``, and by class; the class ``""`` is all
            classes. Empty if unknown.
        sizes: Further numbers: what is counted, the count, the published number.
        notes: As in :class:`~mmfusion.data.bundle.DataBundle`.
        about: Likewise.
        fold: Index of the fold, from 0.
        missing_images: Whether a missing image file is an error or means that the case lacks the image.
        subgroups: As in the bundle.
        masks: Masks of regions by image modality, one per row; empty without any.
    """

    name: str
    frame: pd.DataFrame
    root: Path | None
    reader: CaseReader
    split: Split
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    sizes: tuple[tuple[str, int, int], ...] = ()
    notes: tuple[str, ...] = ()
    about: str = ""
    fold: int = 0
    missing_images: Missing = "error"
    subgroups: tuple[Subgroup, ...] = ()
    masks: Mapping[str, Masks] = field(default_factory=dict)

    @property
    def schema(self) -> TableSchema | None:
        """The fitted columns; None without features."""
        return self.reader.schema

    def load(self, cache: ImageCache | None = None, progress: Progress | None = None) -> DataBundle:
        """Decode the images, each once, and fit their intensities.

        Args:
            cache: Keeps decoded images on disk; None: they are in memory.
            progress: Called with the number of images read so far and of all images.

        Raises:
            ValueError: If images cannot be decoded; names them.
            FileNotFoundError: If images are missing; names them, before any is decoded.
        """
        cases = self.reader.read(
            self.frame, self.root, missing_images=self.missing_images, cache=cache, progress=progress
        )
        train = cases.subset(self.split.train)
        reader = replace(self.reader, intensities=train.fitted(self.reader.intensities))
        cases = cases.scaled(reader.intensities).masked(self.masks)
        return DataBundle(
            self.name,
            cases.subset(self.split.train),
            cases.subset(self.split.validation),
            cases.subset(self.split.test),
            reader,
            notes=self.notes,
            about=self.about,
            fold=self.fold,
            subgroups=self.subgroups,
        )

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Number of cases by target, set and class."""
        counts: dict[str, dict[str, dict[str, int]]] = {}
        for name, target in self.reader.targets.items():
            codes = target.encode(self.frame).numpy()
            counts[name] = {
                set_name: dict(zip(target.classes, np.bincount(codes[rows], minlength=len(target.classes)).tolist()))
                for set_name, rows in zip(SETS, self.split)
            }
        return counts


Planner: TypeAlias = Callable[..., Plan]
"""From keyword-only options to a plan: reads tables, finds all faults at once, and decodes no image."""
