"""Which runs may share a table, and which are one method's.

Runs of one method differ in seed and fold alone. Methods share a table where dataset, its settings, the budget and the
encoder are the same: what :data:`mmfusion.recipes.SHARED` says, and how much of the encoder is trained. A model without
an encoder stands in every table that is otherwise its own, and so does a reference row fitted to the same table and
tested on the same cases.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mmfusion import recipes, registry
from mmfusion.benchmark.collect import FinishedRun, complete, defaults
from mmfusion.registry import PluginError
from mmfusion.training.settings import Train, merge

FREEZING = ("freeze", "precompute")
"""Keys of ``train`` that a table shares beside :data:`mmfusion.recipes.SHARED`, where there is an encoder."""

# Options of the data that a reference row, fitted to the table, does not see.
_OF_IMAGES = {"size", "colours"}


@dataclass(frozen=True)
class Group:
    """The runs of one method.

    Attributes:
        label: Unique in its table.
        model: Registered name, or that of a reference row.
        ablation: Its name; None for none.
        options: In which the methods of that model differ.
        settings: By section, without seed, fold and place.
        runs: By fold, then seed.
    """

    label: str
    model: str
    ablation: str | None
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    runs: tuple[FinishedRun, ...]

    @property
    def row(self) -> str | None:
        """What it is fitted with if it is a reference row."""
        return self.runs[0].row


@dataclass(frozen=True)
class Table:
    """Methods that may be compared.

    Attributes:
        name: Short and unique.
        dataset: Registered name.
        shared: What all have in common, by section.
        groups: The methods, by label.
    """

    name: str
    dataset: str
    shared: Mapping[str, Mapping[str, Any]]
    groups: tuple[Group, ...]


@dataclass
class _Pile:
    shared: dict[str, dict[str, Any]]
    runs: list[FinishedRun] = field(default_factory=list)


def tables(runs: Sequence[FinishedRun]) -> list[Table]:
    """All tables of some runs, by dataset and name."""
    piles: dict[str, _Pile] = {}
    models = [run for run in runs if run.row is None]
    for run in models:
        if (encoder := _encoder(run)) is not None:
            shared = {**_rest(run), "train": _train(run), "model": encoder}
            piles.setdefault(_key(shared, run.classes), _Pile(shared)).runs.append(run)
    for run in models:
        if _encoder(run) is not None:
            continue
        rest = _rest(run)
        hosts = [pile for pile in piles.values() if _host(pile, run, rest)]
        if not hosts:
            shared = {**rest, "model": {}}
            hosts = [piles.setdefault(_key(shared, run.classes), _Pile(shared))]
        for pile in hosts:
            pile.runs.append(run)
    for run in runs:
        if run.row is None:
            continue
        data = _rest(run)["data"]
        hosts = [pile for pile in piles.values() if _hosts_row(pile, run, data)]
        # Rows beside images of several sizes are the same rows: each table has its own.
        hosts = [pile for pile in hosts if pile.shared["data"] == data] or hosts
        if not hosts:
            shared = {"data": data, "train": {}, "model": {}}
            hosts = [piles.setdefault(_key(shared, run.classes), _Pile(shared))]
        for pile in hosts:
            pile.runs.append(run)
    return _named(list(piles.values()))


def options_of(run: FinishedRun) -> dict[str, Any]:
    """All options of the model, those that were not set as their defaults are; plain."""
    found: dict[str, Any] = complete(run)["model"]
    return found


def _defaults(run: FinishedRun) -> dict[str, Any]:
    return {} if run.row is not None else defaults(registry.models, run.model)


def _encoder(run: FinishedRun) -> dict[str, Any] | None:
    """Encoder and weights; None for a model without one."""
    options = options_of(run)
    if "encoder" not in options:
        return None
    return {key: options[key] for key in sorted(recipes.SHARED["model"]) if key in options}


def _rest(run: FinishedRun) -> dict[str, dict[str, Any]]:
    """What is shared without looking at the encoder."""
    packed = complete(run)
    data = {key: value for key, value in packed["data"].items() if key != "fold"}
    train = {key: packed["train"][key] for key in sorted(recipes.SHARED["train"])}
    return {"run": {"dataset": run.settings.run.dataset}, "data": data, "train": train}


def _train(run: FinishedRun) -> dict[str, Any]:
    packed = run.settings.to_dict()["train"]
    return {**_rest(run)["train"], **{key: packed[key] for key in FREEZING}}


def _host(pile: _Pile, run: FinishedRun, rest: Mapping[str, Mapping[str, Any]]) -> bool:
    shared = {**pile.shared, "train": {k: v for k, v in pile.shared["train"].items() if k not in FREEZING}}
    return pile.runs[0].classes == run.classes and all(shared.get(name) == rest[name] for name in rest)


def _hosts_row(pile: _Pile, run: FinishedRun, data: Mapping[str, Any]) -> bool:
    """Whether a row was fitted to the same table of the same cases: other columns would be another comparison."""
    theirs = pile.shared["data"]
    differing = {key for key in (*theirs, *data) if theirs.get(key) != data.get(key)}
    return (not run.settings.data or differing <= _OF_IMAGES) and any(_same_cases(run, other) for other in pile.runs)


def _same_cases(run: FinishedRun, other: FinishedRun) -> bool:
    return (
        run.settings.run.dataset == other.settings.run.dataset
        and run.classes == other.classes
        and run.fold == other.fold
        and len(run.test) == len(other.test)
        and set(run.test.ids.tolist()) == set(other.test.ids.tolist())
    )


def _named(piles: list[_Pile]) -> list[Table]:
    found: list[Table] = []
    taken: set[str] = set()
    piles.sort(key=lambda pile: (pile.runs[0].settings.run.dataset, _key(pile.shared)))
    for pile in piles:
        dataset = pile.runs[0].settings.run.dataset
        base = "-".join(_words(dataset, pile.shared))
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        shared = {section: values for section, values in pile.shared.items() if section != "run"}
        found.append(Table(name, dataset, shared, tuple(_groups(pile.runs))))
    return found


def _words(dataset: str, shared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    encoder, weights = shared["model"].get("encoder"), shared["model"].get("weights")
    if isinstance(encoder, Mapping):
        encoder = encoder.get("name")
    freeze = shared["train"].get("freeze", "none")
    frozen = {"none": "trained", "all": "frozen"}.get(freeze, f"frozen{freeze}")
    words = [dataset]
    if encoder is not None:
        words += [str(encoder), *([str(weights)] if weights not in (None, "none") else []), frozen]
    return ["".join(letter if letter.isalnum() or letter in "_." else "-" for letter in word) for word in words]


def _groups(runs: Sequence[FinishedRun]) -> list[Group]:
    by_method: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_method.setdefault(_key(_method(run), run.row), []).append(run)
    by_model: dict[tuple[str, str | None], list[list[FinishedRun]]] = {}
    for members in by_method.values():
        members.sort(key=lambda run: (run.fold, run.seed))
        by_model.setdefault((members[0].model, members[0].row), []).append(members)
    found = [group for methods in by_model.values() for group in _labelled(methods)]
    taken: set[str] = set()
    unique = []
    for group in sorted(found, key=lambda group: group.label):
        label, number = group.label, 2
        while label in taken:
            label, number = f"{group.label} ({number})", number + 1
        taken.add(label)
        unique.append(Group(label, group.model, group.ablation, group.options, group.settings, group.runs))
    return unique


def _method(run: FinishedRun) -> dict[str, Any]:
    """All that the runs of a method have in common, options that were not set among it."""
    packed = complete(run)
    packed["run"].pop("seed")
    packed["data"].pop("fold", None)
    return packed


def _labelled(methods: Sequence[list[FinishedRun]]) -> list[Group]:
    """The methods of one model, each with a name of its own."""
    first = methods[0][0]
    model, settings = first.model, [_method(runs[0]) for runs in methods]
    # What differs may be the budget's details too, such as a learning rate.
    flat = [_flat(one) for one in settings]
    usual = _usual(first, settings[0])
    differing = sorted({key for one in flat for key in one if any(one.get(key) != other.get(key) for other in flat)})
    names = _ablations(model, settings, usual)
    unnamed = [at for at, name in enumerate(names) if name is None]
    own = sorted({key for key in differing if len({_key(flat[at].get(key)) for at in unnamed}) > 1})
    groups = []
    for at, (runs, name) in enumerate(zip(methods, names)):
        options = {key: flat[at].get(key) for key in differing}
        said = [f"{key}={_shown(flat[at].get(key))}" for key in own if flat[at].get(key) != usual.get(key)]
        if name is not None:
            label = f"{model}: {name}"
        else:
            label = f"{model}[{', '.join(said)}]" if said else model
        groups.append(Group(label, model, name, options, settings[at], tuple(runs)))
    return groups


def _ablations(model: str, settings: Sequence[Mapping[str, Any]], usual: Mapping[str, Any]) -> list[str | None]:
    """The ablation's name of each method, None for those that are none."""
    none: list[str | None] = [None] * len(settings)
    odd = [sum(value != usual.get(key) for key, value in _flat(one).items()) for one in settings]
    if len(settings) == 1 and not odd[0]:
        return none
    try:
        known = _plain(registry.ablations.create(model)) if model in registry.ablations else {}
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
    """What the defaults and the recipe say, flat; all else as in some settings of that model."""
    own = _defaults(run)
    try:
        recipe: Mapping[str, Mapping[str, Any]] = recipes.load(run.settings.run.dataset, run.model, own)
    except ValueError:
        recipe = {"train": {}, "model": {}}
    train = {**asdict(Train()), **recipe["train"]}
    packed = {**settings, "model": {**own, **recipe["model"]}, "train": train}
    return _flat(_plain(packed))


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the model by their names, all else by section and name."""
    flat = dict(settings["model"])
    for section in ("run", "train", "data"):
        flat |= {f"{section}.{key}": value for key, value in settings.get(section, {}).items()}
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping | list):
        return json.dumps(value, sort_keys=True)
    return str(value)


def _plain(value: Any) -> Any:
    """As JSON gives it back: lists for tuples."""
    return json.loads(json.dumps(value, default=repr))


def _key(*values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=repr)
