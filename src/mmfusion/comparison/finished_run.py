"""A finished run, and what it was asked to do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion import registry
from mmfusion.experiments.file_digests import CONTENT, WRITTEN
from mmfusion.experiments.settings import Settings
from mmfusion.metrics.ranking import Floats
from mmfusion.registry import Registry

ROW = "reference_row"
"""In ``metrics.json``: what the run is fitted with, where it is no model of the registry."""

IDLE = ("workers", "checkpointing", "eval_batch_size", "resamples")
"""Keys of ``train`` that change how long a run takes, or what is looked at afterwards, and no prediction."""

PLUGINS = "plugins"
"""In :func:`complete`: what is known of the plug-ins' content."""

# Options of datasets that say where and how they are read.
_OF_PLACE = ("root", "cache", "progress", "max_bytes", *WRITTEN)


@dataclass(frozen=True)
class Cases:
    """What a run said about the cases of one part.

    Attributes:
        ids: Shape ``(n,)``, text.
        groups: Shape ``(n,)``, text: the patient or lesion of each.
        labels: Shape ``(n,)``, class indices.
        probabilities: Shape ``(n, k)``.
    """

    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.int64]
    probabilities: Floats

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def grouped(self) -> bool:
        """Whether some patient or lesion has several cases."""
        return len(set(self.groups.tolist())) < len(self)

    @cached_property
    def told(self) -> frozenset[tuple[str, str, int]]:
        """What the data say of the cases, whatever their order: id, group and label of each."""
        return frozenset(zip(self.ids.tolist(), self.groups.tolist(), self.labels.tolist(), strict=True))

    def take(self, rows: NDArray[np.intp]) -> "Cases":
        """Some of the cases, or all in another order."""
        return Cases(self.ids[rows], self.groups[rows], self.labels[rows], self.probabilities[rows])


@dataclass(frozen=True)
class FinishedRun:
    """A run as a comparison needs it.

    Attributes:
        folder: Where it lies.
        settings: What it was asked to do.
        row: What it is fitted with if it is a reference row, ``scikit-learn``; None for a model.
        classes: Names, in the order of the probabilities.
        seed: Its seed.
        fold: Whose test part it has, from 0.
        test: The predictions that count.
        validation: None where they were not kept.
        metrics: All of ``metrics.json``.
        n_train: Cases it was trained on; None where nobody says.
        history: By epoch; None where it was not kept.
        environment: Versions and hardware; None where it was not kept.
        robustness: Rows of ``robustness.json``, without it those of ``metrics.json``, which have no intervals; None
            where it was not asked for.
        subgroups: By property, the value of each test case, empty where it is unknown; None where there are none.
    """

    folder: Path
    settings: Settings
    row: str | None
    classes: tuple[str, ...]
    seed: int
    fold: int
    test: Cases
    validation: Cases | None
    metrics: Mapping[str, Any]
    n_train: int | None
    history: Sequence[Mapping[str, Any]] | None
    environment: Mapping[str, Any] | None
    robustness: Sequence[Mapping[str, Any]] | None
    subgroups: Mapping[str, NDArray[np.str_]] | None

    @property
    def model(self) -> str:
        """Registered name, or that of a reference row."""
        return self.settings.run.model

    @property
    def name(self) -> str:
        """For a line that speaks of it."""
        return f"{self.model} on {self.settings.run.dataset}, fold {self.fold}, seed {self.seed}"


def complete(run: FinishedRun) -> dict[str, Any]:
    """All settings that predictions depend on, by section; options that were not set as their defaults are; plain.

    A file whose content the run recorded stands there by its digest, wherever it lies; one of an older run by its path.
    """
    packed, chosen = run.settings.computed(), run.settings.run
    packed["train"] = {key: value for key, value in packed["train"].items() if key not in IDLE}
    if run.row is None:
        packed["model"] = defaults(registry.models, chosen.model) | packed["model"]
    of_data = defaults(registry.datasets, chosen.dataset) | packed["data"]
    packed["data"] = {key: value for key, value in of_data.items() if key not in _OF_PLACE}
    read = run.metrics.get(CONTENT, {})
    packed["data"] |= {key: _shown(digest) for key, digest in read.get("data", {}).items()}
    if PLUGINS in read:
        packed["run"][PLUGINS] = "+".join(map(_shown, read[PLUGINS]))
    plain: dict[str, Any] = json.loads(json.dumps(packed, default=repr))
    return plain


def _shown(digest: str) -> str:
    return f"sha256:{digest[:10]}"


def is_foreign(dataset: str) -> bool:
    """Whether a dataset is none of this package's own: a plug-in's, or not known here."""
    try:
        return not registry.datasets.get(dataset).__module__.startswith("mmfusion.")
    except (ValueError, registry.PluginError):
        return True


def defaults(parts: Registry, name: str) -> dict[str, Any]:
    """Of a builder's options; empty where it is not registered here."""
    try:
        return parts.defaults(name)
    except (ValueError, registry.PluginError):  # a plug-in that is not loaded here
        return {}
