"""A finished run and its settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmfusion import registry
from mmfusion.comparison.tuning_record import Tuning
from mmfusion.experiments.file_digests import CONTENT, WRITTEN
from mmfusion.experiments.held_out_cases import Cases
from mmfusion.experiments.settings import Settings
from mmfusion.registry import Registry

ROW = "reference_row"
"""Key of ``metrics.json``: the library that fitted the run, if it is no model of the registry."""

IDLE = ("workers", "checkpointing", "eval_batch_size", "resamples")
"""Keys of ``train`` that change no prediction, only the duration of a run or its evaluation."""

PLUGINS = "plugins"
"""Key of :func:`complete`: digests of the plug-ins."""

# Options of datasets on where and how they are read.
_OF_PLACE = ("root", "cache", "progress", "max_bytes", *WRITTEN)


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, as a comparison reads it.

    Attributes:
        folder: Its folder.
        settings: Its settings.
        row: Library that fitted a reference row, ``scikit-learn``; None for a model.
        classes: Names, in the order of the probabilities.
        seed: Its seed.
        fold: Fold of its test set, from 0.
        test: Test cases.
        validation: Validation cases; None if their predictions were not kept.
        metrics: All of ``metrics.json``.
        n_train: Number of training cases; None if it is unknown.
        history: By epoch; None if it was not kept.
        environment: Versions and hardware; None if they were not kept.
        robustness: Rows of ``robustness.json``; None if robustness was not evaluated.
        subgroups: By property, the value of each test case, empty if it is unknown; None if there are none.
        tuning: How its settings were chosen by trials; None if they were not.
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
    tuning: Tuning | None = None

    @property
    def model(self) -> str:
        """Registered name, or that of a reference row."""
        return self.settings.run.model

    @property
    def repeat(self) -> int:
        """Number of its start: 0 for the seed's, see ``run.repeat``."""
        return self.settings.run.repeat

    @property
    def name(self) -> str:
        """Model, dataset, fold, seed and repeat, for messages."""
        name = f"{self.model} on {self.settings.run.dataset}, fold {self.fold}, seed {self.seed}"
        return f"{name}, repeat {self.repeat}" if self.repeat else name


def complete(run: FinishedRun) -> dict[str, Any]:
    """All settings that predictions depend on, by section, with the defaults of options that were not set; plain
    values.

    A file is represented by its digest, or by its path if the run is older and has no digest of it.
    """
    settings, chosen = run.settings.computed(), run.settings.run
    settings["train"] = {key: value for key, value in settings["train"].items() if key not in IDLE}
    if run.row is None:
        settings["model"] = defaults(registry.models, chosen.model) | settings["model"]
    data = defaults(registry.datasets, chosen.dataset) | settings["data"]
    settings["data"] = {key: value for key, value in data.items() if key not in _OF_PLACE}
    digests = run.metrics.get(CONTENT, {})
    settings["data"] |= {key: _shown(digest) for key, digest in digests.get("data", {}).items()}
    if PLUGINS in digests:
        settings["run"][PLUGINS] = "+".join(map(_shown, digests[PLUGINS]))
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=repr))
    return plain


def _shown(digest: str) -> str:
    return f"sha256:{digest[:10]}"


def is_foreign(dataset: str) -> bool:
    """Whether a dataset is not this package's: a plug-in's, or unknown."""
    try:
        return not registry.datasets.get(dataset).__module__.startswith("mmfusion.")
    except (ValueError, registry.PluginError):
        return True


def defaults(parts: Registry, name: str) -> dict[str, Any]:
    """Defaults of a builder's options; empty if it is not registered."""
    try:
        return parts.defaults(name)
    except (ValueError, registry.PluginError):  # a plug-in that is not loaded here
        return {}
