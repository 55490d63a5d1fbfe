"""Presets: whole comparisons under a name, TOML with the source of each value.

A preset is a layer of settings between the recipe and what the user says, and what a comparison needs beside it: which
models, seeds and folds, which metrics, which model the others are compared with, and what was wrong with the procedure
that it follows. ``NAME-DATASET.toml`` belongs to one dataset, ``NAME.toml`` to any.

The tables ``[data]``, ``[train]``, ``[model]`` and ``[models.NAME]`` are those of a recipe, with the same rules of
equal footing; ``[datasets.NAME]`` holds for one dataset. ``[parity]`` has them again, for the procedure as it was
published, and may alone choose the epoch on the test part.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from mmfusion import registry
from mmfusion.comparison import grid
from mmfusion.experiments import recipes
from mmfusion.experiments.settings import merge

Layer = Mapping[str, Mapping[str, Any]]

PARITY = (
    "This run follows the published procedure with its faults, as far as its notes say (--parity): its numbers are for "
    "comparison with the published ones and with other runs of that kind, not with those of the mended procedure."
)
"""The first note of such a run."""

_SECTIONS = ("data", "train", "model")
_COMPARISON = ("models", "ablate", "seeds", "folds", "metrics", "reference")
_COST = ("seconds_a_case", "cases_an_epoch")


@dataclass(frozen=True)
class Fault:
    """Something wrong, or only different, in a published procedure.

    Attributes:
        fault: What it does.
        where: Where that stands.
        here: What is done about it in these runs.
    """

    fault: str
    where: str
    here: str

    @property
    def note(self) -> str:
        """In one line, for those who read a result."""
        return f"Published: {self.fault} Here: {self.here}"


@dataclass(frozen=True)
class Preset:
    """A comparison.

    Attributes:
        name: As ``--preset`` has it.
        dataset: Registered name.
        parity: Whether the published procedure is followed where it can be.
        about: What it is for.
        models: Registered names of those that are compared.
        ablate: Names of ablations that stand beside those of them that have some; None: none.
        seeds: Of each model and fold.
        folds: Cross-validation with so many folds; None: the dataset's own split.
        metrics: What a table of the results shows, the first one first.
        reference: The model that the others are compared with.
        shared: Settings of all models.
        own: Settings of one model alone, by its name.
        faults: Of the procedure that it follows.
        cost: ``seconds_a_case``, of a training step of cfcml on one CPU core, and ``cases_an_epoch``, where they are
            known.
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
    own: Mapping[str, Layer]
    faults: tuple[Fault, ...]
    cost: Mapping[str, float]

    @property
    def title(self) -> str:
        """What ``run.preset`` says."""
        return f"{self.name} --parity" if self.parity else self.name

    @property
    def layer(self) -> dict[str, Any]:
        """The settings of all models, with what is said beside each result."""
        notes = [*([PARITY] if self.parity else []), *(fault.note for fault in self.faults)]
        return merge(self.shared, {"run": {"preset": self.title, "notes": notes}})

    def changes(self, asked: Layer) -> list[str]:
        """What the user says of the settings, as ``section.key=value``; where a run is computed does not count."""
        return [
            f"{section}.{key}={value}"
            for section in _SECTIONS
            for key, value in asked.get(section, {}).items()
            if value != self.shared.get(section, {}).get(key)
        ]

    def methods(self, asked: Layer, methods: Sequence[grid.Method] | None = None) -> list[grid.Method]:
        """Its models, with what is each one's own.

        Args:
            asked: What the user says of the settings, which wins over a model's own.
            methods: Other ones in place of the preset's models.
        """
        chosen = grid.methods(",".join(self.models), self.ablate) if methods is None else methods
        return [
            grid.Method(one.label, one.model, merge(_without(self.own.get(one.model, {}), asked), one.changes))
            for one in chosen
        ]

    def plan(
        self,
        layers: Sequence[Layer] = (),
        *,
        methods: Sequence[grid.Method] | None = None,
        seeds: Sequence[int] | None = None,
        folds: int | None = None,
        out: Path = Path("runs"),
    ) -> list[grid.Planned]:
        """All its runs.

        Args:
            layers: What the user says, each layer over the one before and all of them over the preset's.
            methods: In place of the preset's models.
            seeds: In place of its own.
            folds: In place of its own. A ``data.fold`` in the layers chooses one.
            out: As for :func:`mmfusion.comparison.grid.plan`.

        Raises:
            ValueError: If a setting does not exist or does not fit.
        """
        asked: dict[str, Any] = {}
        for layer in layers:
            asked = merge(asked, layer)
        layer = self.layer
        if changes := self.changes(asked):
            layer["run"]["notes"] = [*layer["run"]["notes"], f"Set against the preset: {', '.join(changes)}."]
        whole = folds is None and "fold" in asked.get("data", {})
        methods = self.methods(asked, methods)
        # Said for all of its models: those chosen in their place may have no encoder among them.
        known = {key for method in methods for key in registry.models.options(method.model)}
        layer["model"] = {key: value for key, value in layer.get("model", {}).items() if key in known}
        return grid.plan(
            methods,
            [self.dataset],
            [layer, asked],
            seeds=self.seeds if seeds is None else seeds,
            folds=None if whole else self.folds if folds is None else folds,
            out=out,
        )

    def on_cpu(self, planned: Sequence[grid.Planned]) -> str:
        """How long its runs would take without a GPU, in a sentence; empty where that is not known."""
        if not self.cost or not planned:
            return ""
        epochs = sum(one.settings.train.epochs for one in planned)
        days = self.cost["seconds_a_case"] * self.cost["cases_an_epoch"] * epochs / 86400
        return (
            f"The preset {self.title!r} is made for a GPU, and there is none: a training case takes cfcml "
            f"{self.cost['seconds_a_case']:g} s on one CPU core at the paper's sizes, with which {epochs} epochs would "
            f"take about {days:.1f} days. --preset quick is made for a CPU."
        )


def available() -> dict[str, tuple[str, ...]]:
    """The presets, and the datasets that each is for; empty: any."""
    names = [entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")]
    found: dict[str, tuple[str, ...]] = {}
    for whole in sorted(names):
        name, _, dataset = whole.partition("-")
        found[name] = (*found.get(name, ()), *[dataset] * bool(dataset))
    return found


def load(name: str, dataset: str, parity: bool = False) -> Preset:
    """A preset for a dataset.

    Args:
        name: One of :func:`available`.
        dataset: Registered name.
        parity: Follow the published procedure, faults and all, where it can be.

    Raises:
        ValueError: If there is no such preset, it is not for this dataset, or has nothing to be in parity with; says
            what there is.
    """
    known = available()
    if name not in known:
        listed = "; ".join(f"{one} for {', '.join(sets) or 'any dataset'}" for one, sets in known.items())
        raise ValueError(f"no preset {name!r}; there are: {listed}")
    if known[name] and dataset not in known[name]:
        raise ValueError(
            f"the preset {name!r} is for the datasets {', '.join(known[name])}, got {dataset!r}: choose one of them by "
            "--dataset"
        )
    registry.datasets.get(dataset)
    file = f"{name}-{dataset}.toml" if known[name] else f"{name}.toml"
    content = tomllib.loads((files(__name__) / file).read_text(encoding="utf-8"))
    return parse(content, name, dataset, parity)


def parse(content: Mapping[str, Any], name: str, dataset: str, parity: bool = False) -> Preset:
    """As :func:`load`, from a file that was read already."""
    if parity and "parity" not in content:
        raise ValueError(f"the preset {name!r} follows nothing that was published: leave --parity out")
    plain = {key: value for key, value in content.items() if key not in ("parity", "datasets")}
    layers = [plain, content.get("datasets", {}).get(dataset, {}), content.get("parity", {}) if parity else {}]
    whole: dict[str, Any] = {}
    for layer in layers:
        whole = merge(whole, layer)
    allowed = {"about", "comparison", "cost", "faults", "models", *_SECTIONS}
    comparison, cost = whole.get("comparison", {}), whole.get("cost", {})
    for given, valid, what in (
        (whole, allowed, "tables"),
        (comparison, _COMPARISON, "keys of [comparison]"),
        (cost, _COST, "keys of [cost]"),
    ):
        if unknown := sorted(set(given) - set(valid)):
            raise ValueError(f"the preset {name!r} expects the {what} {', '.join(sorted(valid))}, got {unknown}")
    if not parity and whole.get("train", {}).get("select_on") == "test":
        raise ValueError(f"the preset {name!r} sets train.select_on=test, which only [parity] may")
    shared = {section: whole[section] for section in _SECTIONS if section in whole}
    own = {model: _own(layer, f"{name}, {dataset}", model) for model, layer in whole.get("models", {}).items()}
    seeds = comparison["seeds"]
    return Preset(
        name=name,
        dataset=dataset,
        parity=parity,
        about=whole["about"],
        models=tuple(comparison["models"]),
        ablate=tuple(comparison["ablate"]) if "ablate" in comparison else None,
        seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
        folds=comparison.get("folds"),
        metrics=tuple(comparison["metrics"]),
        reference=comparison["reference"],
        shared=shared,
        own=own,
        faults=tuple(
            Fault(one["fault"], one["where"], one["parity" if parity else "here"]) for one in whole.get("faults", ())
        ),
        cost=cost,
    )


def _own(layer: Layer, where: str, model: str) -> dict[str, Any]:
    """A model's own settings, held to the rules of a recipe."""
    picked = recipes.pick({"models": {model: layer}}, where, model)
    return {section: values for section, values in picked.items() if values}


def _without(own: Layer, asked: Layer) -> dict[str, Any]:
    """A model's own settings but for those that the user has something to say about."""
    return {
        section: {key: value for key, value in values.items() if key not in asked.get(section, {})}
        for section, values in own.items()
    }
