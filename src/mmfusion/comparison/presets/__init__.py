"""Presets: named comparisons in TOML, with the source of each value.

A preset is a layer of settings between the recipe and the user's, with the other definitions of a comparison: models,
seeds and folds, metrics, the reference, and the faults of the published procedure. ``NAME-DATASET.toml`` is for one
dataset, ``NAME.toml`` for any.

The tables ``[data]``, ``[train]``, ``[model]`` and ``[models.NAME]`` are those of a recipe, with the same rules of
equal footing; ``[datasets.NAME]`` is for one dataset. ``[parity]`` has the same tables for the procedure as published;
it alone may choose the epoch on the test set.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmfusion import registry
from mmfusion.comparison import grid
from mmfusion.experiments.settings import merge

Layer = Mapping[str, Mapping[str, Any]]

PARITY = (
    "This run follows the published procedure with its faults, as far as its notes say: compare its numbers with the "
    "published ones and with other such runs, not with those of the corrected procedure."
)
"""The first note of such a run."""

_SECTIONS = ("data", "train", "model")


@dataclass(frozen=True)
class Fault:
    """A fault, or only a difference, of a published procedure.

    Attributes:
        fault: The fault.
        where: Where it was published.
        here: Its treatment in these runs.
    """

    fault: str
    where: str
    here: str

    @property
    def note(self) -> str:
        """One line for the notes of a run."""
        return f"Published: {self.fault} Here: {self.here}"


@dataclass(frozen=True)
class Preset:
    """A named comparison.

    Attributes:
        name: Value of ``--preset``.
        dataset: Registered name.
        parity: Whether the published procedure is followed as far as possible.
        about: One sentence on its purpose.
        models: Registered names of the compared models.
        ablate: Names of ablations of those models that have them; None: none.
        seeds: Seeds for each model and fold.
        folds: Number of folds of the cross-validation; None: the dataset's own split.
        metrics: Metrics of the results' tables, in their order.
        reference: The model that the others are compared with.
        shared: Settings of all models.
        of_model: Settings of one model alone, by its name.
        faults: Faults of the procedure that it follows.
        cost: ``seconds_a_case``, for a training step of cfcml on one CPU core, and ``cases_an_epoch``; empty if they
            are unknown.
    """

    name: str
    dataset: str
    parity: bool
    about: str
    models: tuple[str, ...]
    ablate: tuple[str, ...] | None
    seeds: tuple[int, ...]
    folds: int | None
    metrics: tuple[str, ...]
    reference: str
    shared: Layer
    of_model: Mapping[str, Layer]
    faults: tuple[Fault, ...]
    cost: Mapping[str, float]

    @property
    def title(self) -> str:
        """Value of ``run.preset``."""
        return f"{self.name} --parity" if self.parity else self.name

    @property
    def layer(self) -> dict[str, Any]:
        """Settings of all models, with the notes of each run."""
        notes = [*([PARITY] if self.parity else []), *(fault.note for fault in self.faults)]
        return merge(self.shared, {"run": {"preset": self.title, "notes": notes}})

    def changes(self, user: Layer) -> list[str]:
        """The user's settings that differ from the preset, as ``section.key=value``; those of ``run`` do not count."""
        return [
            f"{section}.{key}={value}"
            for section in _SECTIONS
            for key, value in user.get(section, {}).items()
            if value != self.shared.get(section, {}).get(key)
        ]

    def methods(self, user: Layer, methods: Sequence[grid.Method] | None = None) -> list[grid.Method]:
        """The methods with the preset's settings of their models.

        Args:
            user: The user's settings, which override those of a model.
            methods: Methods in place of the preset's models.
        """
        chosen = grid.methods(",".join(self.models), self.ablate) if methods is None else methods
        return [
            grid.Method(
                method.label,
                method.model,
                merge(_without(self.of_model.get(method.model, {}), user), method.changes),
                method.fixed,
            )
            for method in chosen
        ]

    def plan(
        self,
        layers: Sequence[Layer] = (),
        *,
        methods: Sequence[grid.Method] | None = None,
        seeds: Sequence[int] | None = None,
        folds: int | None = None,
        repeats: int = 1,
        out: Path = Path("runs"),
    ) -> list[grid.Planned]:
        """All its runs.

        Args:
            layers: The user's settings, later layers over earlier ones and all of them over the preset's.
            methods: Methods in place of the preset's models.
            seeds: Seeds in place of the preset's.
            folds: Folds in place of the preset's. A ``data.fold`` in the layers chooses a single one.
            repeats: As for :func:`mmfusion.comparison.grid.plan`.
            out: As for :func:`mmfusion.comparison.grid.plan`.

        Raises:
            ValueError: If a setting does not exist or does not fit.
        """
        user = merge({}, *layers)
        layer = self.layer
        if changes := self.changes(user):
            layer["run"]["notes"] = [
                *layer["run"]["notes"],
                f"Settings that differ from the preset: {', '.join(changes)}.",
            ]
        single_fold = folds is None and "fold" in user.get("data", {})
        methods = self.methods(user, methods)
        # The layer is for the preset's models: methods in their place may lack some of its options.
        known = {key for method in methods for key in registry.models.options(method.model)}
        layer["model"] = {key: value for key, value in layer.get("model", {}).items() if key in known}
        return grid.plan(
            methods,
            [self.dataset],
            [layer, user],
            seeds=self.seeds if seeds is None else seeds,
            folds=None if single_fold else self.folds if folds is None else folds,
            repeats=repeats,
            out=out,
        )

    def on_cpu(self, planned: Sequence[grid.Planned]) -> str:
        """Sentence on how long the runs take without a GPU; empty if that is unknown."""
        if not self.cost or not planned:
            return ""
        epochs = sum(run.settings.train.epochs for run in planned)
        days = self.cost["seconds_a_case"] * self.cost["cases_an_epoch"] * epochs / 86400
        return (
            f"The preset {self.title!r} is meant for a GPU, and there is none: cfcml needs "
            f"{self.cost['seconds_a_case']:g} s per training case on one CPU core at the paper's sizes, so that "
            f"{epochs} epochs would take about {days:.1f} days. The preset quick is meant for a CPU."
        )


def available() -> dict[str, tuple[str, ...]]:
    """Names of the presets, each with its datasets; empty: any dataset."""
    names = [entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")]
    datasets: dict[str, tuple[str, ...]] = {}
    for stem in sorted(names):
        name, _, dataset = stem.partition("-")
        datasets[name] = (*datasets.get(name, ()), *[dataset] * bool(dataset))
    return datasets


def load(name: str, dataset: str, parity: bool = False) -> Preset:
    """A preset for a dataset.

    Args:
        name: One of :func:`available`.
        dataset: Registered name.
        parity: Follow the published procedure with its faults, as far as possible.

    Raises:
        ValueError: If the preset is unknown, is not for this dataset, or follows no published procedure although
            ``parity`` is set.
    """
    known = available()
    if name not in known:
        listed = "; ".join(f"{preset} for {', '.join(sets) or 'any dataset'}" for preset, sets in known.items())
        raise ValueError(f"unknown preset {name!r}; there are: {listed}")
    if known[name] and dataset not in known[name]:
        raise ValueError(f"the preset {name!r} is for the datasets {', '.join(known[name])}, got dataset={dataset!r}")
    registry.datasets.get(dataset)
    file = f"{name}-{dataset}.toml" if known[name] else f"{name}.toml"
    content = tomllib.loads((files(__name__) / file).read_text(encoding="utf-8"))
    return parse(content, name, dataset, parity)


def parse(content: Mapping[str, Any], name: str, dataset: str, parity: bool = False) -> Preset:
    """As :func:`load`, from the parsed content of a file."""
    if parity and "parity" not in content:
        raise ValueError(f"the preset {name!r} follows no published procedure: leave out parity=True")
    plain = {key: value for key, value in content.items() if key not in ("parity", "datasets")}
    layers = [plain, content.get("datasets", {}).get(dataset, {}), content.get("parity", {}) if parity else {}]
    merged = merge({}, *layers)
    comparison = merged["comparison"]
    shared = {section: merged[section] for section in _SECTIONS if section in merged}
    seeds = comparison["seeds"]
    return Preset(
        name=name,
        dataset=dataset,
        parity=parity,
        about=merged["about"],
        models=tuple(comparison["models"]),
        ablate=tuple(comparison["ablate"]) if "ablate" in comparison else None,
        seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
        folds=comparison.get("folds"),
        metrics=tuple(comparison["metrics"]),
        reference=comparison["reference"],
        shared=shared,
        of_model=merged.get("models", {}),
        faults=tuple(
            Fault(fault["fault"], fault["where"], fault["parity" if parity else "here"])
            for fault in merged.get("faults", ())
        ),
        cost=merged.get("cost", {}),
    )


def _without(layer: Layer, user: Layer) -> dict[str, Any]:
    """A model's own settings without those that the user sets."""
    return {
        section: {key: value for key, value in values.items() if key not in user.get(section, {})}
        for section, values in layer.items()
    }
