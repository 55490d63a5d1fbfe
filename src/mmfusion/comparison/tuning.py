"""Tuning of a comparison: equal numbers of trials for every method, judged on validation alone.

Trial 0 is the recipe; the others are points of one Sobol sequence that all methods share. Every trial runs with one
seed, the best three with two more, and the best of these is trained with the seeds of the comparison and tested. Each
stage follows from the finished runs of the one before, so that the same call goes on wherever it was stopped.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmfusion.comparison import grid, sweep
from mmfusion.comparison.grid import Planned
from mmfusion.comparison.search_space import SearchSpace, points, search_space, value_of
from mmfusion.comparison.sweep import Launcher, Outcome
from mmfusion.comparison.tuning_record import TUNED, UNTUNED, Trial, Tuning
from mmfusion.experiments import case_file, folder
from mmfusion.experiments.assembly import build_dataset
from mmfusion.experiments.settings import Settings, merge, plain
from mmfusion.metrics.classification import LOWER_IS_BETTER
from mmfusion.spec import DataSpec
from mmfusion.training.reporter import Reporter, Silent
from mmfusion.training.result_files import read_json, write_json

TRIALS = 16
"""Default number of trials."""

SEEDS = (1000, 1001, 1002)
"""Seeds of the trials, which no run that is tested may have."""

N_BEST = 3
"""Number of trials that run with all of :data:`SEEDS`."""


@dataclass(frozen=True)
class _Study:
    """The trials of a method on one dataset and fold.

    Attributes:
        planned: Its runs at the recipe that are tested, one per seed.
        space: What is tuned.
        values: By trial, the values of these settings.
        out: Parent of the runs' folders.
    """

    planned: tuple[Planned, ...]
    space: SearchSpace
    values: tuple[Mapping[str, Any], ...]
    out: Path

    @property
    def label(self) -> str:
        return self.planned[0].label

    @property
    def name(self) -> str:
        """Method, dataset and fold, for messages."""
        settings = self.planned[0].settings
        fold = settings.data.get("fold")
        return f"{self.label} on {settings.run.dataset}" + ("" if fold is None else f", fold {fold}")

    @property
    def metric(self) -> str:
        return self.planned[0].settings.train.metric

    def trial(self, number: int, seed: int) -> Planned:
        """A run of a trial."""
        values = self.values[number] if number else {}
        settings = _changed(self.planned[0].settings, values, {"seed": seed, "test": False})
        return grid.placed(settings, f"{self.label}, trial {number}", self.out)

    def tuned(self, at_recipe: Planned, number: int) -> Planned:
        """The run of a chosen trial that is tested, in place of that at the recipe."""
        label = f"{self.label} {TUNED}"
        if not number:
            return replace(at_recipe, label=label)
        return grid.placed(_changed(at_recipe.settings, self.values[number]), label, self.out)


def run(
    planned: Sequence[Planned],
    n_trials: int = TRIALS,
    reporter: Reporter | None = None,
    *,
    launcher: Launcher | None = None,
    overwrite: bool = False,
    out: Path = Path("runs"),
) -> list[Outcome]:
    """Tune every method of a comparison, then run it with the chosen settings and at its recipe.

    A trial that diverges, or whose metric is undefined, counts as the worst. If a trial fails for another reason its
    method is not tuned before the same call has finished it.

    Args:
        planned: The comparison's runs at the recipe, from :func:`~mmfusion.comparison.grid.plan`.
        n_trials: Number of trials beside the recipe, a power of two.
        reporter: Receives the progress.
        launcher: Computes the runs, as for :func:`~mmfusion.comparison.sweep.sweep`.
        overwrite: Start finished and interrupted runs anew.
        out: Parent of the runs' folders, that of ``planned``.

    Returns:
        The tested runs: for each of ``planned`` the tuned one and that at the recipe, by their labels; then what
        failed. Where the recipe itself was chosen both are one run.

    Raises:
        ValueError: If the number of trials is not a power of two, a seed is one of :data:`SEEDS`, the epoch is chosen
            on the test set, or the dataset cannot be read.
        FileNotFoundError: If a file of a dataset does not exist.
        Interrupted: If the user stops it; the same call resumes.
    """
    reporter = reporter or Silent()
    _check(planned)
    grown = points(n_trials)
    failed: list[Outcome] = []
    studies = _studies(planned, grown, out, reporter, failed)

    def stage(runs: Sequence[Planned]) -> dict[str, Outcome]:
        by_address = {one.address: one for one in runs}
        diverged = [one for one in by_address.values() if _diverged(one) and not overwrite]
        for one in diverged:
            del by_address[one.address]
        made = sweep.sweep(list(by_address.values()), reporter, launcher=launcher, overwrite=overwrite)
        known = [Outcome(one, None, "it diverged") for one in diverged]
        return {outcome.planned.address: outcome for outcome in (*made, *known)}

    if studies:
        each = f"{n_trials} trial{'s' * (n_trials != 1)} and the recipe for each of {len(studies)}"
        reporter.say(f"Trials, judged on validation: {each}, seed {SEEDS[0]}")
    outcomes = stage([study.trial(number, SEEDS[0]) for number in range(n_trials + 1) for study in studies])
    studies = _complete(studies, range(n_trials + 1), SEEDS[:1], outcomes, failed)
    studies = [study for study in studies if not _hopeless(study, outcomes, failed)]
    best = {study.name: _best(study, outcomes) for study in studies}
    if studies:
        reporter.say(f"The best {N_BEST} trials of each, seeds {SEEDS[1]} and {SEEDS[2]}")
    outcomes |= stage(
        [
            study.trial(best[study.name][place], seed)
            for seed in SEEDS[1:]
            for place in range(N_BEST)
            for study in studies
            if place < len(best[study.name])
        ]
    )
    chosen: list[tuple[_Study, Tuning]] = []
    for study in studies:
        if _complete([study], best[study.name], SEEDS[1:], outcomes, failed):
            chosen.append((study, _tuning(study, best[study.name], outcomes)))
            reporter.say(_sentence(*chosen[-1]))
    return [*_tested(planned, chosen, reporter, launcher, overwrite), *failed]


def _check(planned: Sequence[Planned]) -> None:
    if taken := sorted({one.settings.run.seed for one in planned} & set(SEEDS)):
        raise ValueError(
            f"the seeds {', '.join(map(str, SEEDS))} are those of the trials, and a tested run needs fresh ones: leave "
            f"{', '.join(map(str, taken))} out of seeds"
        )
    if any(one.settings.train.select_on == "test" for one in planned):
        raise ValueError("trials are judged on validation alone: leave out train.select_on=test")
    if any(not one.settings.run.test for one in planned):
        raise ValueError(
            "the chosen trial is tested at the end: leave out run.test=false, which the trials have anyway"
        )


def _studies(
    planned: Sequence[Planned], grown: Any, out: Path, reporter: Reporter, failed: list[Outcome]
) -> list[_Study]:
    """One per method, dataset and fold; a method that is not for its data is added to ``failed``."""
    members: dict[str, list[Planned]] = {}
    for one in planned:
        run = one.settings.run
        members.setdefault(_key(one.label, run.dataset, run.root, one.settings.data), []).append(one)
    studies, specs = [], dict[str, DataSpec]()
    for runs in members.values():
        first = runs[0]
        bare = _Study(tuple(runs), SearchSpace({}, {}, {}), (), out)
        key = _key(first.settings.run.dataset, first.settings.run.root, first.settings.data)
        if key not in specs:
            specs[key] = _spec(bare.trial(0, SEEDS[0]), reporter)
        try:
            space = search_space(first.settings, specs[key], first.fixed)
        except ValueError as error:
            failed.append(Outcome(first, None, " ".join(str(error).split())))
            continue
        recipe = {name: value_of(first.settings, name) for name in space.ranges}
        studies.append(_Study(tuple(runs), space, (recipe, *(space.values(point) for point in grown)), out))
    return studies


def _spec(recipe: Planned, reporter: Reporter) -> DataSpec:
    """What the data are: as the recipe's trial recorded it, or from the dataset."""
    path = recipe.folder / folder.CASE
    if path.is_file():
        return case_file.read(folder.read_case(recipe.folder), path)[0]
    sweep.check_files([recipe])
    return build_dataset(recipe.settings, reporter).spec


def _key(*values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=repr)


def _changed(settings: Settings, values: Mapping[str, Any], of_run: Mapping[str, Any] | None = None) -> Settings:
    sections: dict[str, dict[str, Any]] = {"run": dict(of_run or {})}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    changed = Settings.from_dict(merge(settings.to_dict(), sections))
    changed.check_options()
    return changed.typed()


def _diverged(planned: Planned) -> bool:
    place = planned.folder
    return (place / folder.DIVERGED).is_file() and not (place / folder.METRICS).is_file()


def _score(outcome: Outcome) -> float | None:
    """Validation metric of a run; None if it diverged or the metric is undefined."""
    value: float | None = None if outcome.metrics is None else outcome.metrics["chosen"]["value"]
    return value


def _complete(
    studies: Sequence[_Study],
    numbers: Sequence[int],
    seeds: Sequence[int],
    outcomes: Mapping[str, Outcome],
    failed: list[Outcome],
) -> list[_Study]:
    """The studies all of whose trials are finished or diverged; the failures of the others are added to ``failed``."""
    complete = []
    for study in studies:
        runs = [outcomes[study.trial(number, seed).address] for number in numbers for seed in seeds]
        open_ones = [one for one in runs if one.metrics is None and not _diverged(one.planned)]
        failed += [replace(one, failure=f"{one.failure} ({study.label} is not tuned without it)") for one in open_ones]
        if not open_ones:
            complete.append(study)
    return complete


def _hopeless(study: _Study, outcomes: Mapping[str, Outcome], failed: list[Outcome]) -> bool:
    """Whether no trial has a score, which is added to ``failed``."""
    runs = [outcomes[study.trial(number, SEEDS[0]).address] for number in range(len(study.values))]
    if any(_score(one) is not None for one in runs):
        return False
    n_diverged = sum(one.metrics is None for one in runs)
    text = (
        f"none of its {len(runs)} trials, the recipe among them, has a validation {study.metric}, and {n_diverged} "
        "diverged: start anew with a lower train.lr, or a train.metric that is defined"
    )
    failed.append(Outcome(study.planned[0], None, text))
    return True


def _best(study: _Study, outcomes: Mapping[str, Outcome]) -> list[int]:
    """Numbers of the best trials with the first seed, the lower number first where they are equal."""
    scores = {number: _score(outcomes[study.trial(number, SEEDS[0]).address]) for number in range(len(study.values))}
    defined = {number: score for number, score in scores.items() if score is not None}
    return sorted(defined, key=lambda number: (_loss(study.metric, defined[number]), number))[:N_BEST]


def _loss(metric: str, score: float) -> float:
    """The score, turned so that less is better."""
    return score if metric in LOWER_IS_BETTER else -score


def _tuning(study: _Study, best: Sequence[int], outcomes: Mapping[str, Outcome]) -> Tuning:
    """All trials of a study and the choice: among the best, the one with the best mean over the seeds."""
    trials = []
    for number, values in enumerate(study.values):
        seeds = SEEDS if number in best else SEEDS[:1]
        runs = [outcomes[study.trial(number, seed).address] for seed in seeds]
        trials.append(
            Trial(
                number,
                values,
                tuple(map(_score, runs)),
                sum(one.metrics is None for one in runs),
                float(sum(one.metrics["cost"]["seconds"] for one in runs if one.metrics is not None)),
                tuple(one.planned.address for one in runs),
            )
        )

    def order(number: int) -> tuple[int, float, int]:
        trial = trials[number]
        # A seed without a score is the worst that can be.
        return sum(score is None for score in trial.scores), _loss(study.metric, trial.mean), number

    return Tuning(
        n_trials=len(trials) - 1,
        metric=study.metric,
        seeds=SEEDS,
        space={key: str(values) for key, values in study.space.ranges.items()},
        dropped=study.space.dropped,
        trials=tuple(trials),
        chosen=min(best, key=order),
    )


def _sentence(study: _Study, tuning: Tuning) -> str:
    choice, recipe = tuning.choice, tuning.recipe
    which = "the recipe is chosen" if not tuning.chosen else f"trial {choice.number} of {tuning.n_trials} is chosen"
    text = f"{study.name}: {which}, validation {tuning.metric} {choice.mean:.4f} over {len(choice.scores)} seeds"
    if tuning.chosen:
        listed = ", ".join(f"{key}={value}" for key, value in choice.values.items())
        scored = "undefined" if math.isnan(recipe.mean) else f"{recipe.mean:.4f}"
        text += f" (the recipe {scored} over {len(recipe.scores)}): {listed}"
    if tuning.n_diverged:
        text += f"; {tuning.n_diverged} of {tuning.n_runs} runs diverged and count as the worst"
    return text


def _tested(
    planned: Sequence[Planned],
    chosen: Sequence[tuple[_Study, Tuning]],
    reporter: Reporter,
    launcher: Launcher | None,
    overwrite: bool,
) -> list[Outcome]:
    """The runs with the chosen settings and those at the recipe, with their records."""
    by_recipe = {one.address: (study, tuning) for study, tuning in chosen for one in study.planned}
    rows: list[tuple[Planned, Tuning | None]] = []
    for one in planned:
        if one.address in by_recipe:
            study, tuning = by_recipe[one.address]
            rows.append((study.tuned(one, tuning.chosen), tuning))
            rows.append((replace(one, label=f"{one.label} {UNTUNED}"), None))
    if not rows:
        return []
    reporter.say("The chosen settings and the recipes, tested with fresh seeds")
    unique = {run.address: run for run, _ in reversed(rows)}
    made = sweep.sweep(list(reversed(unique.values())), reporter, launcher=launcher, overwrite=overwrite)
    by_address = {outcome.planned.address: outcome for outcome in made}
    for run, tuning_of_run in rows:
        if tuning_of_run is not None and by_address[run.address].metrics is not None:
            record, path = plain(tuning_of_run.to_dict()), run.folder / folder.TUNING
            if not path.is_file() or read_json(path) != record:
                write_json(path, record)
    return [replace(by_address[run.address], planned=run) for run, _ in rows]
