"""Methods: which runs are one method's, and what it is called.

Runs of one method differ in seed and fold alone. Its label has the model's name, what makes it another than the plain
method, and the ablation's name.
"""

import json
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from mmfusion import registry
from mmfusion.comparison import presets
from mmfusion.comparison.finished_run import PLUGINS, FinishedRun, complete, defaults
from mmfusion.experiments import recipes
from mmfusion.experiments.settings import Run, merge, plain
from mmfusion.registry import PluginError
from mmfusion.training.settings import Train


@dataclass(frozen=True)
class Group:
    """The runs of one method.

    Attributes:
        label: Unique in its table.
        model: Registered name, or that of a reference row.
        ablation: Its name; None for none.
        options: In which the methods of that model differ, and what of the model its label tells.
        changed: What the defaults, the recipe and the preset do not say, of the model and its training: options of the
            model by their names, ``train.lr`` and so on, ``run.precision``; empty for a reference row.
        settings: By section, without seed, fold and place.
        runs: By fold, then seed.
    """

    label: str
    model: str
    ablation: str | None
    options: Mapping[str, Any]
    changed: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: tuple[FinishedRun, ...]

    @property
    def name(self) -> str:
        """As it is asked for: its label without options."""
        return self.model if self.ablation is None else f"{self.model}: {self.ablation}"

    @property
    def row(self) -> str | None:
        """What it is fitted with if it is a reference row."""
        return self.runs[0].row


def groups(runs: Sequence[FinishedRun]) -> list[Group]:
    """The methods of some runs, by label.

    Args:
        runs: Of one table: models and reference rows.
    """
    by_method: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_method.setdefault(key_of(_method(run), run.row), []).append(run)
    by_model: dict[tuple[str, str | None], list[list[FinishedRun]]] = {}
    for members in by_method.values():
        members.sort(key=lambda run: (run.fold, run.seed))
        by_model.setdefault((members[0].model, members[0].row), []).append(members)
    # A reference row has no options.
    options = {key: [options_of(runs[0]) for runs in methods] for key, methods in by_model.items() if key[1] is None}
    found = []
    for key, methods in by_model.items():
        theirs = [one for other, each in options.items() if other != key for one in each]
        found += _labelled(methods, _everybodys(options.get(key, []), theirs))
    taken: set[str] = set()
    unique = []
    for group in sorted(found, key=lambda group: group.label):
        label, number = group.label, 2
        while label in taken:
            label, number = f"{group.label} ({number})", number + 1
        taken.add(label)
        unique.append(replace(group, label=label))
    return unique


def options_of(run: FinishedRun) -> dict[str, Any]:
    """All options of the model, those that were not set as their defaults are; plain."""
    found: dict[str, Any] = complete(run)["model"]
    return found


def shown(value: Any) -> str:
    """A setting's value as a label has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return json.dumps(value, sort_keys=True)
    return str(value)


def key_of(*values: Any) -> str:
    """Equal for values that are equal as JSON."""
    return json.dumps(values, sort_keys=True, default=repr)


def _defaults(run: FinishedRun) -> dict[str, Any]:
    return {} if run.row is not None else defaults(registry.models, run.model)


def _everybodys(mine: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> set[str]:
    """Options of a model that set none of its methods apart: whoever has one has it with the same value.

    What no other model has makes the methods of this one other than the plain ones, unless they are alone in the table.

    Args:
        mine: Options of each method of the model.
        theirs: Of each method of the other models.
    """
    if not theirs and len(mine) == 1:
        return set()
    found = set()
    for name in {name for one in mine for name in one}:
        having = [one[name] for one in theirs if name in one]
        if (having or not theirs) and len(
            {key_of(value) for value in (*having, *(one.get(name) for one in mine))}
        ) == 1:
            found.add(name)
    return found


def _method(run: FinishedRun) -> dict[str, Any]:
    """All that the runs of a method have in common, options that were not set among it."""
    packed = complete(run)
    packed["run"].pop("seed")
    packed["data"].pop("fold", None)
    return packed


def _labelled(methods: Sequence[list[FinishedRun]], everybodys: Container[str]) -> list[Group]:
    """The methods of one model, each with a name of its own, which says what makes it another than the plain method.

    Args:
        methods: The runs of each.
        everybodys: Options that the other models have too, with the same values.
    """
    first = methods[0][0]
    model, settings = first.model, [_method(runs[0]) for runs in methods]
    # What differs may be the budget's details too, such as a learning rate.
    flat = [_flat(one) for one in settings]
    usual = [_usual(runs[0], one) for runs, one in zip(methods, settings)]
    differing = {key for one in flat for key in one if any(one.get(key) != other.get(key) for other in flat)}
    names = _ablations(model, settings, usual[0])
    unnamed = [at for at, name in enumerate(names) if name is None]
    own = {key for key in differing if len({key_of(flat[at].get(key)) for at in unnamed}) > 1}
    found = []
    for at, (runs, name) in enumerate(zip(methods, names)):
        changed = {} if first.row is not None else _changed(flat[at], usual[at])
        parts = _parts(model, name)
        its = {key for key in changed if key in settings[at]["model"] and key not in recipes.SHARED["model"]}
        alone = {key for key in its if key not in everybodys and key not in parts}
        apart = {key for key in own if name is None and flat[at].get(key) != usual[0].get(key)}
        said = [f"{key}={shown(flat[at].get(key))}" for key in sorted(apart | alone)]
        label = f"{model}[{', '.join(said)}]" if said else model
        if name is not None:
            label = f"{label}: {name}"
        options = {key: flat[at].get(key) for key in sorted(differing | alone | its & parts)}
        found.append(Group(label, model, name, options, changed, settings[at], tuple(runs)))
    return found


def _changed(flat: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as usual, of the model and its training; data are what all methods share."""
    return {key: value for key, value in flat.items() if not key.startswith("data.") and value != usual.get(key)}


def _parts(model: str, ablation: str | None) -> set[str]:
    """Options that an ablation sets: its name says them."""
    if ablation is None:
        return set()
    known: Mapping[str, Mapping[str, Any]] = registry.ablations.create(model)
    return set(known[ablation])


def _ablations(model: str, settings: Sequence[Mapping[str, Any]], usual: Mapping[str, Any]) -> list[str | None]:
    """The ablation's name of each method, None for those that are none."""
    none: list[str | None] = [None] * len(settings)
    odd = [sum(value != usual.get(key) for key, value in _flat(one).items()) for one in settings]
    if len(settings) == 1 and not odd[0]:
        return none
    try:
        known = plain(registry.ablations.create(model)) if model in registry.ablations else {}
    except (ValueError, PluginError):
        return none
    if not known:
        return none

    def becomes(whole: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        if whole == other:
            return None
        for name, options in known.items():
            if {**whole, "model": merge(whole["model"], options)} == other:
                return str(name)
        return None

    # The whole method is the one that most of the others are ablations of; of several, the most usual.
    found = [[becomes(whole, other) for other in settings] for whole in settings]
    whole = max(range(len(settings)), key=lambda at: (sum(name is not None for name in found[at]), -odd[at]))
    if any(found[whole]):
        return found[whole]
    # None of them is another's: an ablation may stand alone, the recipe's method without a part.
    for at, one in enumerate(settings):
        standard = {key: usual.get(key, value) for key, value in one["model"].items()}
        none[at] = becomes({**one, "model": standard}, one)
    return none


def _usual(run: FinishedRun, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the defaults, the recipe and the run's preset say, flat; all else as in some settings of that model."""
    chosen, own = run.settings.run, _defaults(run)
    layers: list[Mapping[str, Any]] = []
    with suppress(ValueError):
        # Nobody knows what a plug-in that is not loaded here takes: whatever the recipe has may be its own.
        layers.append(recipes.load(chosen.dataset, run.model, own or None))
    with suppress(ValueError):
        name, _, parity = (chosen.preset or "").partition(" ")
        preset = presets.load(name, chosen.dataset, bool(parity))
        layers += [preset.shared, preset.own.get(run.model, {})]
    said: dict[str, Any] = {}
    for layer in layers:
        said = merge(said, layer)
    model = {key: value for key, value in said.get("model", {}).items() if not own or key in own}
    train = {**asdict(Train()), **said.get("train", {})}
    about = {key: value for key, value in settings["run"].items() if key != PLUGINS}
    packed = {"run": {**about, "precision": Run.precision}, "train": train, "model": {**own, **model}}
    return _flat(plain({**settings, **packed}))


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the model by their names, all else by section and name."""
    flat = dict(settings["model"])
    for section in ("run", "train", "data"):
        flat |= {f"{section}.{key}": value for key, value in settings.get(section, {}).items()}
    return flat
