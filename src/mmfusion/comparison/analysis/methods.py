"""Runs of one method, and the label that distinguishes it from the other methods of its table.

Runs of one method differ in seed and fold alone.
"""

import json
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmfusion import registry
from mmfusion.comparison import presets
from mmfusion.comparison.finished_run import PLUGINS, FinishedRun, complete, defaults
from mmfusion.comparison.tuning_record import TUNED, UNTUNED, Tuning
from mmfusion.experiments import recipes
from mmfusion.experiments.settings import RunSettings, merge, plain
from mmfusion.registry import PluginError
from mmfusion.training.settings import Train


@dataclass(frozen=True)
class Group:
    """The runs of one method.

    Attributes:
        label: Unique in its table.
        model: Registered name, or that of a reference row.
        ablation: Name of the ablation; None for none.
        options: Options in which the methods of that model differ, and those that the label has.
        changed: Settings of the model and its training that differ from the defaults, the recipe and the preset:
            options of the model by their names, ``train.lr`` and so on, ``run.precision``; empty for a reference row.
        settings: By section, without seed, fold and folder.
        runs: By fold, then seed.
        tunings: By fold, how its settings were chosen by trials; empty if they were not. The settings above are then
            those of its recipe.
        at_recipe: Whether it is a method at its recipe that is tuned too.
    """

    label: str
    model: str
    ablation: str | None
    options: Mapping[str, Any]
    changed: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: tuple[FinishedRun, ...]
    tunings: tuple[Tuning, ...] = ()
    at_recipe: bool = False

    @property
    def name(self) -> str:
        """The label without options, as on the command line."""
        return self.model if self.ablation is None else f"{self.model}: {self.ablation}"

    @property
    def row(self) -> str | None:
        """Library that fitted a reference row; None for a model."""
        return self.runs[0].row


def groups(runs: Sequence[FinishedRun]) -> list[Group]:
    """The methods of one table, by label."""
    by_method: dict[str, list[FinishedRun]] = {}
    for run in runs:
        for role in _roles(run):
            n_trials = None if role.tuning is None else role.tuning.n_trials
            by_method.setdefault(key_of(_method_settings(role), role.row, n_trials), []).append(role)
    by_model: dict[tuple[str, str | None], list[list[FinishedRun]]] = {}
    for members in by_method.values():
        members.sort(key=lambda run: (run.fold, run.seed))
        by_model.setdefault((members[0].model, members[0].row), []).append(members)
    # A reference row has no options.
    options = {key: [options_of(runs[0]) for runs in methods] for key, methods in by_model.items() if key[1] is None}
    labelled: list[Group] = []
    for key, methods in by_model.items():
        others = [other for model, options_of_model in options.items() if model != key for other in options_of_model]
        labelled += _labelled(methods, _common_options(options.get(key, []), others))
    taken: set[str] = set()
    unique = []
    for group in sorted(_with_budgets(labelled), key=lambda group: group.label):
        label, number = group.label, 2
        while label in taken:
            label, number = f"{group.label} ({number})", number + 1
        taken.add(label)
        unique.append(replace(group, label=label))
    return unique


def _roles(run: FinishedRun) -> list[FinishedRun]:
    """A run once, or twice where the trials chose its recipe: as the tuned method and as the method at its recipe."""
    both = run.tuning is not None and not run.tuning.chosen
    return [run, replace(run, tuning=None)] if both else [run]


def _with_budgets(groups: Sequence[Group]) -> list[Group]:
    """The groups, with a label that says whether a method is tuned, or is at the recipe of one that is."""
    budgets = {tuning.n_trials for group in groups for tuning in group.tunings}
    out = []
    for group in groups:
        if group.tunings:
            trials = f", {group.tunings[0].n_trials} trials)" if len(budgets) > 1 else ")"
            group = replace(group, label=f"{group.label} {TUNED.removesuffix(')')}{trials}")
        elif any(other.tunings and alike(other, group) for other in groups):
            group = replace(group, label=f"{group.label} {UNTUNED}", at_recipe=True)
        out.append(group)
    return out


def alike(first: Group, second: Group) -> bool:
    """Whether two groups are of one method: the same model and recipe."""
    return (first.model, first.row) == (second.model, second.row) and first.settings == second.settings


def options_of(run: FinishedRun) -> dict[str, Any]:
    """All options of the model, with the defaults of those that were not set; plain values."""
    options: dict[str, Any] = complete(run)["model"]
    return options


def shown(value: Any) -> str:
    """A setting's value as it is in a label."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return json.dumps(value, sort_keys=True)
    return str(value)


def key_of(*values: Any) -> str:
    """Text that is equal for equal values."""
    return json.dumps(values, sort_keys=True, default=repr)


def _common_options(methods: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> set[str]:
    """Options of a model that distinguish none of its methods: every method that has one has the same value.

    An option that no other model has distinguishes the methods of this one from the plain ones, unless they are alone
    in the table.

    Args:
        methods: Options of each method of the model.
        others: Options of each method of the other models.
    """
    if not others and len(methods) == 1:
        return set()
    common = set()
    for name in {name for options in methods for name in options}:
        values = [options[name] for options in others if name in options]
        distinct = {key_of(value) for value in (*values, *(options.get(name) for options in methods))}
        if (values or not others) and len(distinct) == 1:
            common.add(name)
    return common


def _method_settings(run: FinishedRun) -> dict[str, Any]:
    """All settings that the runs of a method have in common, with the defaults of options that were not set; tuned
    ones as in the recipe, since each fold has its own choice.
    """
    settings = complete(run)
    settings["run"].pop("seed")
    settings["run"].pop("repeat")
    settings["data"].pop("fold", None)
    for key, value in () if run.tuning is None else run.tuning.recipe.values.items():
        section, _, name = key.partition(".")
        settings[section][name] = value
    return settings


def _labelled(methods: Sequence[list[FinishedRun]], common: Container[str]) -> list[Group]:
    """The methods of one model, each with a label that says how it differs from the plain method.

    Args:
        methods: The runs of each.
        common: Options that the other models have too, with the same values.
    """
    first = methods[0][0]
    model, settings = first.model, [_method_settings(runs[0]) for runs in methods]
    # Methods may differ in details of the budget too, such as a learning rate.
    flat = [_flat(method) for method in settings]
    usual = [_usual(runs[0], method) for runs, method in zip(methods, settings)]
    differing = {key for values in flat for key in values if any(values.get(key) != other.get(key) for other in flat)}
    names = _ablations(model, settings, usual[0])
    unnamed = [values for values, name in zip(flat, names) if name is None]
    distinguishing = {key for key in differing if len({key_of(values.get(key)) for values in unnamed}) > 1}
    groups = []
    for runs, name, method, values, expected in zip(methods, names, settings, flat, usual, strict=True):
        changed = {} if first.row is not None else _changed(values, expected)
        in_name = _ablation_options(model, name)
        changed_options = {key for key in changed if key in method["model"] and key not in recipes.SHARED["model"]}
        in_label = {key for key in changed_options if key not in common and key not in in_name}
        if name is None:
            in_label |= {key for key in distinguishing if values.get(key) != usual[0].get(key)}
        listed = ", ".join(f"{key}={shown(values.get(key))}" for key in sorted(in_label))
        label = f"{model}[{listed}]" if listed else model
        if name is not None:
            label = f"{label}: {name}"
        keys = differing | {key for key in changed_options if key not in common or key in in_name}
        options = {key: values.get(key) for key in sorted(keys)}
        tunings = {run.fold: run.tuning for run in runs if run.tuning is not None}
        groups.append(Group(label, model, name, options, changed, method, tuple(runs), tuple(tunings.values())))
    return groups


def _changed(flat: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Unusual settings of the model and its training; those of the data are shared by all methods."""
    return {key: value for key, value in flat.items() if not key.startswith("data.") and value != usual.get(key)}


def _ablation_options(model: str, ablation: str | None) -> set[str]:
    """Options that an ablation sets: its name says them."""
    if ablation is None:
        return set()
    ablations: Mapping[str, Mapping[str, Any]] = registry.ablations.create(model)
    return set(ablations[ablation])


def _ablations(model: str, settings: Sequence[Mapping[str, Any]], usual: Mapping[str, Any]) -> list[str | None]:
    """Name of each method's ablation; None for a method that is none."""
    none: list[str | None] = [None] * len(settings)
    n_unusual = [sum(value != usual.get(key) for key, value in _flat(method).items()) for method in settings]
    if len(settings) == 1 and not n_unusual[0]:
        return none
    try:
        ablations = plain(registry.ablations.create(model)) if model in registry.ablations else {}
    except (ValueError, PluginError):
        return none
    if not ablations:
        return none

    def name_of(whole: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        if whole == other:
            return None
        for name, options in ablations.items():
            if {**whole, "model": merge(whole["model"], options)} == other:
                return str(name)
        return None

    # The whole method is the one that most of the others are ablations of; among several, the most usual.
    names = [[name_of(whole, other) for other in settings] for whole in settings]
    whole = max(range(len(settings)), key=lambda i: (sum(name is not None for name in names[i]), -n_unusual[i]))
    if any(names[whole]):
        return names[whole]
    # No method is another's ablation, but one may be an ablation of the recipe's method, which is absent.
    standards = [{key: usual.get(key, value) for key, value in method["model"].items()} for method in settings]
    return [name_of({**method, "model": standard}, method) for method, standard in zip(settings, standards)]


def _usual(run: FinishedRun, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the defaults, the recipe and the run's preset, flat; all others as in ``settings``."""
    chosen = run.settings.run
    known = {} if run.row is not None else defaults(registry.models, run.model)
    layers: list[Mapping[str, Any]] = []
    with suppress(ValueError):
        # The options of a plug-in that is not loaded here are unknown: all of the recipe's may be among them.
        layers.append(recipes.load(chosen.dataset, run.model, known or None))
    with suppress(ValueError):
        name, _, parity = (chosen.preset or "").partition(" ")
        preset = presets.load(name, chosen.dataset, bool(parity))
        layers += [preset.shared, preset.of_model.get(run.model, {})]
    merged = merge({}, *layers)
    model = {key: value for key, value in merged.get("model", {}).items() if not known or key in known}
    train = {**asdict(Train()), **merged.get("train", {})}
    rest = {key: value for key, value in settings["run"].items() if key != PLUGINS}
    usual = {"run": {**rest, "precision": RunSettings.precision}, "train": train, "model": {**known, **model}}
    return _flat(plain({**settings, **usual}))


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the model by their names, all other settings by section and name."""
    flat = dict(settings["model"])
    for section in ("run", "train", "data"):
        flat |= {f"{section}.{key}": value for key, value in settings.get(section, {}).items()}
    return flat
