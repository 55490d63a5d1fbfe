"""Tables of comparable runs.

Methods share a table if dataset, its settings, the budget and the encoder are the same: all of
:data:`mmfusion.experiments.recipes.SHARED`, and how much of the encoder is trained. A model without an encoder is in
every table whose other settings are its own, and so is a reference row fitted to the same table and tested on the same
cases; one that is fitted to embeddings is in the tables of the same encoder and weights, frozen there or not. Runs of
one fold with different test cases come from two versions of the data, whatever their settings say, and never share a
table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmfusion.comparison.analysis.methods import Group, groups, key_of, options_of
from mmfusion.comparison.finished_run import PLUGINS, FinishedRun, complete, is_foreign
from mmfusion.comparison.reference_choice import sees_embeddings
from mmfusion.experiments import recipes

FREEZING = ("freeze", "precompute")
"""Keys of ``train`` that a table shares next to :data:`mmfusion.experiments.recipes.SHARED`, if there is an encoder."""

# Options of the data that a reference row, fitted to the table, does not see.
_OF_IMAGES = {"size", "colours"}


@dataclass(frozen=True)
class Table:
    """Methods that may be compared.

    Attributes:
        name: Short and unique.
        dataset: Registered name.
        shared: Settings that all have in common, by section.
        groups: The methods, by label.
        conflict: Folders of two runs with the same settings and different test cases, one in this table and one in
            another; None if there is no such table.
    """

    name: str
    dataset: str
    shared: Mapping[str, Mapping[str, Any]]
    groups: tuple[Group, ...]
    conflict: tuple[Path, Path] | None = None


@dataclass
class _Draft:
    """A table to which runs are still added."""

    shared: dict[str, dict[str, Any]]
    runs: list[FinishedRun] = field(default_factory=list)
    conflict: tuple[Path, Path] | None = None

    def conflicting(self, run: FinishedRun) -> FinishedRun | None:
        """A run of the same fold that was tested on other cases; None if the run may be added."""
        first = next((other for other in self.runs if other.fold == run.fold), None)
        return None if first is None or first.test.records == run.test.records else first

    def accepts(self, run: FinishedRun, shared: Mapping[str, Mapping[str, Any]]) -> bool:
        """Whether a model without an encoder has these classes, test cases and settings."""
        common = {**self.shared, "train": {k: v for k, v in self.shared["train"].items() if k not in FREEZING}}
        same = self.runs[0].classes == run.classes and all(common.get(name) == shared[name] for name in shared)
        return same and self.conflicting(run) is None

    def accepts_row(self, run: FinishedRun, data: Mapping[str, Any]) -> bool:
        """Whether a reference row was fitted to the same inputs and tested on the same cases."""
        common = self.shared["data"]
        differing = {key for key in (*common, *data) if common.get(key) != data.get(key)}
        if sees_embeddings(run.model):
            # Embeddings are of the table's encoder and images.
            own = {**run.settings.model, "normalise": run.settings.train.normalise}
            encoder = {**self.shared["model"], "normalise": self.shared["train"].get("normalise")}
            if differing or key_of(own) != key_of(encoder):
                return False
        # A row that was fitted by hand need not name its data.
        fits = differing <= _OF_IMAGES if run.settings.data else data.get(PLUGINS) in (None, common.get(PLUGINS))
        return fits and any(_same_cases(run, other) for other in self.runs) and self.conflicting(run) is None


class _Drafts:
    """Drafts by their shared settings, in the order of their first runs."""

    def __init__(self) -> None:
        self.by_key: dict[str, list[_Draft]] = {}

    def __iter__(self) -> Iterator[_Draft]:
        return (draft for drafts in self.by_key.values() for draft in drafts)

    def draft_for(self, shared: dict[str, dict[str, Any]], run: FinishedRun) -> _Draft:
        """The draft that a run belongs to; a new one if no draft fits."""
        drafts = self.by_key.setdefault(key_of(shared, run.classes), [])
        conflict = None
        for draft in drafts:
            other = draft.conflicting(run)
            if other is None:
                return draft
            conflict = conflict or (run.folder, other.folder)
        drafts.append(_Draft(shared, conflict=conflict))
        return drafts[-1]


def tables(runs: Sequence[FinishedRun]) -> list[Table]:
    """All tables of some runs, by dataset and name."""
    drafts = _Drafts()
    models = [run for run in runs if run.row is None]
    for run in models:
        if (encoder := _encoder(run)) is not None:
            shared = {**_without_encoder(run), "train": _train(run), "model": encoder}
            drafts.draft_for(shared, run).runs.append(run)
    for run in models:
        if _encoder(run) is None:
            shared = _without_encoder(run)
            hosts = [draft for draft in drafts if draft.accepts(run, shared)]
            for draft in hosts or [drafts.draft_for({**shared, "model": {}}, run)]:
                draft.runs.append(run)
    for run in runs:
        if run.row is not None:
            data = _without_encoder(run)["data"]
            hosts = [draft for draft in drafts if draft.accepts_row(run, data)]
            # The rows are the same whatever the size of the images: each table has its own.
            hosts = [draft for draft in hosts if draft.shared["data"] == data] or hosts
            alone: dict[str, dict[str, Any]] = {"data": data, "train": {}, "model": {}}
            if sees_embeddings(run.model):
                alone |= {"train": {"freeze": "all"}, "model": dict(run.settings.model)}
            for draft in hosts or [drafts.draft_for(alone, run)]:
                draft.runs.append(run)
    return _named(list(drafts))


def _encoder(run: FinishedRun) -> dict[str, Any] | None:
    """Encoder and weights; None for a model without one."""
    options = options_of(run)
    if "encoder" not in options:
        return None
    return {key: options[key] for key in sorted(recipes.SHARED["model"]) if key in options}


def _without_encoder(run: FinishedRun) -> dict[str, dict[str, Any]]:
    """The shared settings but those of the encoder."""
    settings = complete(run)
    data = {key: value for key, value in settings["data"].items() if key != "fold"}
    if PLUGINS in settings["run"] and is_foreign(run.settings.run.dataset):
        # The plug-in may decide which cases there are.
        data[PLUGINS] = settings["run"][PLUGINS]
    train = {key: settings["train"][key] for key in sorted(recipes.SHARED["train"])}
    return {"run": {"dataset": run.settings.run.dataset}, "data": data, "train": train}


def _train(run: FinishedRun) -> dict[str, Any]:
    train = run.settings.to_dict()["train"]
    return {**_without_encoder(run)["train"], **{key: train[key] for key in FREEZING}}


def _same_cases(run: FinishedRun, other: FinishedRun) -> bool:
    return (
        run.settings.run.dataset == other.settings.run.dataset
        and run.classes == other.classes
        and run.fold == other.fold
        and run.test.records == other.test.records
    )


def _named(drafts: list[_Draft]) -> list[Table]:
    result: list[Table] = []
    taken: set[str] = set()
    drafts.sort(key=lambda draft: (draft.runs[0].settings.run.dataset, key_of(draft.shared)))
    for draft in drafts:
        dataset = draft.runs[0].settings.run.dataset
        base = _name(dataset, draft.shared)
        name, number = base, 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        shared = {section: values for section, values in draft.shared.items() if section != "run"}
        result.append(Table(name, dataset, shared, tuple(groups(draft.runs)), draft.conflict))
    return result


def _name(dataset: str, shared: Mapping[str, Mapping[str, Any]]) -> str:
    """Dataset, encoder, weights, and whether the encoder is frozen."""
    encoder, weights = shared["model"].get("encoder"), shared["model"].get("weights")
    if isinstance(encoder, Mapping):
        encoder = encoder.get("name")
    freeze = shared["train"].get("freeze", "none")
    frozen = {"none": "trained", "all": "frozen"}.get(freeze, f"frozen{freeze}")
    words = [dataset]
    if encoder is not None:
        words += [str(encoder), *([str(weights)] if weights not in (None, "none") else []), frozen]
    return "-".join("".join(char if char.isalnum() or char in "_." else "-" for char in word) for word in words)
