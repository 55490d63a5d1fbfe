"""Tables: which methods may be compared.

Runs of one method differ in seed and fold alone. Methods share a table where dataset, its settings, the budget and the
encoder are the same: what :data:`mmfusion.experiments.recipes.SHARED` says, and how much of the encoder is trained. A
model without an encoder is in every table that is otherwise its own, and so is a reference row fitted to the same table
and tested on the same cases. Runs of one fold whose test cases are not the same are of two versions of the data,
whatever their settings say, and never share a table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmfusion.comparison.analysis.methods import Group, groups, key_of, options_of
from mmfusion.comparison.finished_run import PLUGINS, FinishedRun, complete, is_foreign
from mmfusion.experiments import recipes

FREEZING = ("freeze", "precompute")
"""Keys of ``train`` that a table shares next to :data:`mmfusion.experiments.recipes.SHARED`, where there is an encoder.
"""

# Options of the data that a reference row, fitted to the table, does not see.
_OF_IMAGES = {"size", "colours"}


@dataclass(frozen=True)
class Table:
    """Methods that may be compared.

    Attributes:
        name: Short and unique.
        dataset: Registered name.
        shared: What all have in common, by section.
        groups: The methods, by label.
        parted: Folders of two runs, one of this table and one of another with the same settings, that were tested on
            other cases; None where there is no such table.
    """

    name: str
    dataset: str
    shared: Mapping[str, Mapping[str, Any]]
    groups: tuple[Group, ...]
    parted: tuple[Path, Path] | None = None


@dataclass
class _Pile:
    shared: dict[str, dict[str, Any]]
    runs: list[FinishedRun] = field(default_factory=list)
    parted: tuple[Path, Path] | None = None

    def stranger(self, run: FinishedRun) -> FinishedRun | None:
        """A run of the same fold that was tested on other cases; None where the run may join."""
        first = next((one for one in self.runs if one.fold == run.fold), None)
        return None if first is None or first.test.told == run.test.told else first


class _Piles:
    """By what their runs share, in the order in which they begin."""

    def __init__(self) -> None:
        self.by_key: dict[str, list[_Pile]] = {}

    def __iter__(self) -> Iterator[_Pile]:
        return (pile for alike in self.by_key.values() for pile in alike)

    def of(self, shared: dict[str, dict[str, Any]], run: FinishedRun) -> _Pile:
        """The pile that a run belongs to, begun where there is none."""
        alike = self.by_key.setdefault(key_of(shared, run.classes), [])
        parted = None
        for pile in alike:
            stranger = pile.stranger(run)
            if stranger is None:
                return pile
            parted = parted or (run.folder, stranger.folder)
        alike.append(_Pile(shared, parted=parted))
        return alike[-1]


def tables(runs: Sequence[FinishedRun]) -> list[Table]:
    """All tables of some runs, by dataset and name."""
    piles = _Piles()
    models = [run for run in runs if run.row is None]
    for run in models:
        if (encoder := _encoder(run)) is not None:
            shared = {**_rest(run), "train": _train(run), "model": encoder}
            piles.of(shared, run).runs.append(run)
    for run in models:
        if _encoder(run) is not None:
            continue
        rest = _rest(run)
        hosts = [pile for pile in piles if _host(pile, run, rest)]
        if not hosts:
            hosts = [piles.of({**rest, "model": {}}, run)]
        for pile in hosts:
            pile.runs.append(run)
    for run in runs:
        if run.row is None:
            continue
        data = _rest(run)["data"]
        hosts = [pile for pile in piles if _hosts_row(pile, run, data)]
        # Rows beside images of several sizes are the same rows: each table has its own.
        hosts = [pile for pile in hosts if pile.shared["data"] == data] or hosts
        if not hosts:
            hosts = [piles.of({"data": data, "train": {}, "model": {}}, run)]
        for pile in hosts:
            pile.runs.append(run)
    return _named(list(piles))


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
    if PLUGINS in packed["run"] and is_foreign(run.settings.run.dataset):
        # It may be the plug-in that says what the cases are.
        data[PLUGINS] = packed["run"][PLUGINS]
    train = {key: packed["train"][key] for key in sorted(recipes.SHARED["train"])}
    return {"run": {"dataset": run.settings.run.dataset}, "data": data, "train": train}


def _train(run: FinishedRun) -> dict[str, Any]:
    packed = run.settings.to_dict()["train"]
    return {**_rest(run)["train"], **{key: packed[key] for key in FREEZING}}


def _host(pile: _Pile, run: FinishedRun, rest: Mapping[str, Mapping[str, Any]]) -> bool:
    shared = {**pile.shared, "train": {k: v for k, v in pile.shared["train"].items() if k not in FREEZING}}
    alike = pile.runs[0].classes == run.classes and all(shared.get(name) == rest[name] for name in rest)
    return alike and pile.stranger(run) is None


def _hosts_row(pile: _Pile, run: FinishedRun, data: Mapping[str, Any]) -> bool:
    """Whether a row was fitted to the same table of the same cases: other columns would be another comparison."""
    theirs = pile.shared["data"]
    differing = {key for key in (*theirs, *data) if theirs.get(key) != data.get(key)}
    # One that was fitted by hand need not say what it was fitted to.
    fits = differing <= _OF_IMAGES if run.settings.data else data.get(PLUGINS) in (None, theirs.get(PLUGINS))
    return fits and any(_same_cases(run, other) for other in pile.runs) and pile.stranger(run) is None


def _same_cases(run: FinishedRun, other: FinishedRun) -> bool:
    return (
        run.settings.run.dataset == other.settings.run.dataset
        and run.classes == other.classes
        and run.fold == other.fold
        and run.test.told == other.test.told
    )


def _named(piles: list[_Pile]) -> list[Table]:
    found: list[Table] = []
    taken: set[str] = set()
    piles.sort(key=lambda pile: (pile.runs[0].settings.run.dataset, key_of(pile.shared)))
    for pile in piles:
        dataset = pile.runs[0].settings.run.dataset
        base = "-".join(_words(dataset, pile.shared))
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        shared = {section: values for section, values in pile.shared.items() if section != "run"}
        found.append(Table(name, dataset, shared, tuple(groups(pile.runs)), pile.parted))
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
