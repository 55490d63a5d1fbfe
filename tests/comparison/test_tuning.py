"""The stages of a tuned comparison, with a launcher that writes finished runs instead of training."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmfusion.cli import program
from mmfusion.comparison import grid, sweep, tuning
from mmfusion.comparison.grid import Planned
from mmfusion.comparison.search_space import points
from mmfusion.comparison.sweep import Outcome
from mmfusion.comparison.tuning import SEEDS
from mmfusion.comparison.tuning_record import Tuning
from mmfusion.experiments import folder
from mmfusion.experiments.run import Interrupted
from mmfusion.experiments.settings import Settings
from mmfusion.training.reporter import Reporter, Silent
from mmfusion.training.result_files import read_json

Score = Callable[[Settings], float | str | None]


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Writing:
    """Writes what a run would: its score from its settings, or why it failed; stops after some runs."""

    def __init__(self, score: Score, stop_after: int | None = None) -> None:
        self.score = score
        self.left = stop_after
        self.stages: list[list[Planned]] = []

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        self.stages.append(list(waiting))
        failures = {}
        for planned in waiting:
            if self.left is not None:
                if not self.left:
                    raise Interrupted("stopped")
                self.left -= 1
            score, place = self.score(planned.settings), planned.folder
            place.mkdir(parents=True, exist_ok=True)
            (place / folder.SETTINGS).write_text(json.dumps({"format": 1, **planned.settings.to_dict()}))
            if isinstance(score, str):
                failures[planned.address] = score
                if score == "diverged":
                    (place / folder.DIVERGED).write_text("{}")
                continue
            test = {"test": {"auc": {"value": 0.8, "low": 0.7, "high": 0.9}}} if planned.settings.run.test else {}
            metrics = {
                **{"format": 1, "chosen": {"metric": "auc", "value": score}, "ceilings": {}},
                **{"cost": {"parameters": {"total": 1}, "seconds": 36.0}, **test},
            }
            (place / folder.METRICS).write_text(json.dumps(metrics))
        return failures

    @property
    def started(self) -> list[Planned]:
        return [planned for stage in self.stages for planned in stage]


def by_rate(best: float = 0.004) -> Score:
    """Best at one learning rate; the width and the seed count little."""

    def score(settings: Settings) -> float:
        ratio = settings.train.lr / best
        return 0.9 - 0.1 * abs(max(ratio, 1 / ratio) - 1) / 100 + 1e-6 * (settings.run.seed - 1000)

    return score


@pytest.fixture
def tune(fakes: ModuleType, tmp_path: Path) -> Callable[..., list[Outcome]]:
    def tuned(
        launcher: Writing,
        n: int = 4,
        text: str = "tiny",
        *,
        seeds: Sequence[int] = (0, 1),
        layer: Mapping[str, Any] | None = None,
        reporter: Reporter | None = None,
    ) -> list[Outcome]:
        out = tmp_path / "runs"
        base = {"train": {"epochs": 1}}
        planned = grid.plan(grid.methods(text), ["tiny"], [base, layer or {}], seeds=seeds, out=out)
        return tuning.run(planned, n, reporter, launcher=launcher, out=out)

    return tuned


def record(outcome: Outcome) -> Tuning:
    return Tuning.from_dict(read_json(outcome.planned.folder / folder.TUNING))


@pytest.mark.slow
def test_tuning_stages(tune: Callable[..., list[Outcome]]) -> None:
    launcher, lines = Writing(by_rate()), Lines()
    outcomes = tune(launcher, reporter=lines, text="tiny,tiny[width=4]")
    first, second, third = launcher.stages
    assert [len(stage) for stage in launcher.stages] == [2 * 5, 2 * 3 * 2, 2 * 2 * 2]
    assert {(run.settings.run.seed, run.settings.run.test) for run in first} == {(1000, False)}
    assert {(run.settings.run.seed, run.settings.run.test) for run in second} == {(1001, False), (1002, False)}
    assert {(run.settings.run.seed, run.settings.run.test) for run in third} == {(0, True), (1, True)}
    # The recipe, then the shared points; what the method's name says stays.
    rates = [run.settings.train.lr for run in first if run.label.startswith("tiny,")]
    assert rates == [1e-3, *(float(f"{1e-4 * 100**u:.3g}") for u in points(4)[:, 0])]
    assert rates == [run.settings.train.lr for run in first if run.label.startswith("tiny[")]
    assert {run.settings.model["width"] for run in first if run.label.startswith("tiny[")} == {4}
    assert [run.label for run in first[::2]] == [f"tiny, trial {number}" for number in range(5)]
    names = ["tiny (tuned)", "tiny (at the recipe)", "tiny[width=4] (tuned)", "tiny[width=4] (at the recipe)"]
    assert [outcome.planned.label for outcome in outcomes] == 2 * names
    assert all(outcome.metrics is not None for outcome in outcomes)
    chosen = record(outcomes[0])
    assert chosen.choice.values["train.lr"] == min(rates, key=lambda rate: max(rate / 0.004, 0.004 / rate))
    assert outcomes[0].planned.settings.train.lr == chosen.choice.values["train.lr"]
    assert outcomes[1].planned.settings.train.lr == 1e-3
    assert not (outcomes[1].planned.folder / folder.TUNING).exists()
    assert list(chosen.space) == ["train.lr", "train.weight_decay"]
    assert chosen.space["train.lr"] == "0.0001 to 0.01, logarithmic"
    assert chosen.dropped["model.dropout"] == "the method has no dropout"
    assert (chosen.n_trials, chosen.metric, chosen.seeds, chosen.n_runs) == (4, "auc", SEEDS, 5 + 6)
    assert chosen.hours == pytest.approx(11 * 36 / 3600)
    assert sorted(len(trial.scores) for trial in chosen.trials) == [1, 1, 3, 3, 3]
    said = f"tiny on tiny: trial {chosen.chosen} of 4 is chosen, validation auc 0.8"
    assert any(line.startswith(said) for line in lines.lines)


@pytest.mark.slow
def test_resumed_tuning_matches_uninterrupted(tune: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    whole = Writing(by_rate())
    tuned = [outcome.planned for outcome in tune(whole, 2)]
    (tmp_path / "runs").rename(tmp_path / "whole")
    halves = []
    for _ in whole.started:
        halves.append(Writing(by_rate(), stop_after=1))
        with suppress(Interrupted):
            tune(halves[-1], 2)
    halves.append(Writing(by_rate()))
    assert [outcome.planned for outcome in tune(halves[-1], 2)] == tuned
    assert not halves[-1].started
    done = Counter(run.folder for half in halves for run in half.started[:1])
    assert done == Counter({run.folder: 1 for run in whole.started})


def test_best_three_trials_get_two_more_seeds(tune: Callable[..., list[Outcome]]) -> None:
    """The best of one seed is not the best in the mean; a fourth, best there, had its chance."""
    rates = [1e-3, *(float(f"{1e-4 * 100**u:.3g}") for u in points(4)[:, 0])]
    by_seed = [0.9, 0.1, 0.1], [0.8, 0.9, 0.9], [0.7, 0.8, 0.8], [0.6, 1, 1], [0.5, 1, 1]
    scores = dict(zip(rates, by_seed, strict=True))
    launcher = Writing(lambda settings: scores[settings.train.lr][max(settings.run.seed - 1000, 0)])
    chosen = record(tune(launcher)[0])
    assert [run.settings.train.lr for run in launcher.stages[1]] == [*rates[:3], *rates[:3]]
    assert chosen.chosen == 1
    assert [trial.scores for trial in chosen.trials[:3]] == [tuple(scores[rate]) for rate in rates[:3]]
    assert [trial.scores for trial in chosen.trials[3:]] == [(0.6,), (0.5,)]


@pytest.mark.slow
def test_lower_is_better_metric(tune: Callable[..., list[Outcome]]) -> None:
    score = by_rate()
    launcher = Writing(lambda settings: 1 - score(settings))  # type: ignore[operator]  # a number
    chosen = record(tune(launcher, layer={"train": {"metric": "log_loss"}})[0])
    assert chosen.chosen == record(tune(Writing(score))[0]).chosen


@pytest.mark.slow
def test_more_trials_reuse_finished_ones(tune: Callable[..., list[Outcome]]) -> None:
    tune(Writing(by_rate()), 2)
    launcher = Writing(by_rate())
    tune(launcher, 4)
    assert [run.label for run in launcher.stages[0]] == ["tiny, trial 3", "tiny, trial 4"]


def test_recipe_can_be_chosen(tune: Callable[..., list[Outcome]]) -> None:
    launcher, lines = Writing(by_rate(1e-3)), Lines()
    outcomes = tune(launcher, reporter=lines, seeds=(0,))
    assert [run.label for run in launcher.stages[2]] == ["tiny (tuned)"]
    tuned, untuned = outcomes
    assert (tuned.planned.label, untuned.planned.label) == ("tiny (tuned)", "tiny (at the recipe)")
    assert tuned.planned.folder == untuned.planned.folder
    assert record(tuned).chosen == 0
    assert any("tiny on tiny: the recipe is chosen" in line for line in lines.lines)


@pytest.mark.slow
def test_diverged_trials_rank_last(tune: Callable[..., list[Outcome]]) -> None:
    """By its rate, or with one of two more seeds: then it ranks after those that did not."""
    rates = [1e-3, *(float(f"{1e-4 * 100**u:.3g}") for u in points(4)[:, 0])]
    best, second, *others = rates

    def score(settings: Settings) -> float | str | None:
        if settings.train.lr == others[0]:
            return "diverged"
        if settings.train.lr == others[1]:
            return None  # undefined
        if settings.train.lr == best:
            return "diverged" if settings.run.seed == 1002 else 0.9
        return 0.8 if settings.train.lr == second else 0.7

    launcher, lines = Writing(score), Lines()
    outcomes = tune(launcher, reporter=lines)
    chosen = record(outcomes[0])
    assert chosen.chosen == 1
    assert chosen.trials[0].scores == (0.9, 0.9, None)
    assert (chosen.trials[2].scores, chosen.trials[3].scores) == ((None,), (None,))
    assert [trial.diverged for trial in chosen.trials] == [1, 0, 1, 0, 0]
    assert any("2 of 11 runs diverged and count as the worst" in line for line in lines.lines)
    # Of 1 to 4 trials beside the recipe: the two without a score are as bad as the worst.
    assert chosen.expected_best() == pytest.approx([0.7 + 0.1 * (1 - 0.75**n) for n in (1, 2, 3, 4)])
    again = Writing(score)
    sweep.check(tune(again))
    assert not again.started


def test_all_trials_diverge_raises(tune: Callable[..., list[Outcome]]) -> None:
    wide = by_rate()
    launcher = Writing(lambda settings: "diverged" if settings.model.get("width") == 4 else wide(settings))
    outcomes = tune(launcher, text="tiny[width=4],tiny")
    assert [outcome.planned.label for outcome in outcomes if outcome.failure is None][:2] == [
        "tiny (tuned)",
        "tiny (at the recipe)",
    ]
    with pytest.raises(sweep.SweepError) as caught:
        sweep.check(outcomes)
    assert str(caught.value) == (
        "1 of 5 runs failed: tiny[width=4] on tiny, seed 0: none of its 5 trials, the recipe among them, has a "
        "validation auc, and 5 diverged: start anew with a lower train.lr, or a train.metric that is defined"
    )


@pytest.mark.slow
def test_failed_trial_postpones_choice(tune: Callable[..., list[Outcome]]) -> None:
    """A full disk must not choose: the method is not tuned until the same command has finished the trial."""
    good = by_rate()
    launcher = Writing(lambda settings: "disk full" if settings.train.lr == 1e-3 else good(settings))
    outcomes = tune(launcher, text="tiny")
    assert [(one.planned.label, one.failure) for one in outcomes] == [
        ("tiny, trial 0", "disk full (tiny is not tuned without it)")
    ]
    assert len(launcher.stages) == 1
    again = Writing(good)
    assert record(tune(again)[0]).chosen
    assert [run.label for run in again.stages[0]] == ["tiny, trial 0"]


@pytest.mark.slow
def test_folds_are_tuned_separately(tune: Callable[..., list[Outcome]]) -> None:
    of_fold = [by_rate(4e-4), by_rate(4e-3)]
    launcher = Writing(lambda settings: of_fold[settings.data["fold"]](settings))
    rates = [tune(launcher, seeds=(0,), layer={"data": {"fold": fold}})[0].planned.settings.train.lr for fold in (0, 1)]
    assert rates[0] < 1e-3 < rates[1]


@pytest.mark.parametrize(
    ("layer", "seeds", "n", "message"),
    [
        ({}, (0, 1001), 4, "the seeds 1000, 1001, 1002 are those of the trials, .*: leave 1001 out of seeds"),
        ({"train": {"select_on": "test"}}, (0,), 4, r"judged on validation alone: leave out train\.select_on=test"),
        ({"run": {"test": False}}, (0,), 4, r"tested at the end: leave out run\.test=false"),
        ({}, (0,), 12, "trials expects a power of two, .*: 8 or 16, got 12"),
        ({"run": {"root": "nowhere"}}, (0,), 4, "run.root: nowhere"),
    ],
)
def test_invalid_options_raise_before_any_run(
    tune: Callable[..., list[Outcome]], layer: dict[str, Any], seeds: tuple[int, ...], n: int, message: str
) -> None:
    launcher = Writing(by_rate())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        tune(launcher, n, seeds=seeds, layer=layer)
    assert not launcher.stages


def test_command_default_matches_library() -> None:
    assert program.parsed(["run", "--trials"]).trials == tuning.TRIALS


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"trials": []},
        {"chosen": 9},
        {"chosen": "1"},
        {"space": {"train.lr": "0 to 1", "more": "0 to 1"}},
        {"trials": [{"number": 0}]},
        {"metric": None},
    ],
)
def test_damaged_record_raises(tune: Callable[..., list[Outcome]], change: dict[str, Any]) -> None:
    packed = read_json(tune(Writing(by_rate()), 1)[0].planned.folder / folder.TUNING)
    assert Tuning.from_dict(packed).to_dict() == Tuning.from_dict(json.loads(json.dumps(packed))).to_dict()
    with pytest.raises(ValueError, match=r"it is not what a sweep writes|its trials are not|a trial lacks"):
        Tuning.from_dict(packed | change)
