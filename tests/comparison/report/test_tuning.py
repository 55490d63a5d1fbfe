"""A tuned comparison from its folders to its report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from helpers import run_folders
from mmfusion.comparison.analysis.assemble import analyse
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.collect import collect
from mmfusion.comparison.compact import compact
from mmfusion.comparison.report import pages
from mmfusion.comparison.report.chapters.answer import answer, compared
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.tuning_record import Trial, Tuning
from mmfusion.experiments import folder

RATES = [0.002, 0.004, 0.0005]
"""Of the recipe of synthetic_derm7pt, and of two trials."""


def tuning(chosen: int, n: int = 2, dropout: Sequence[float] = (0.5, 0.2, 0.6), first: float | None = 0.8) -> Tuning:
    trials = tuple(
        Trial(
            number,
            {"train.lr": RATES[number], "model.dropout": dropout[number]},
            (first, 0.82, 0.84) if number == chosen else (0.7 + number / 100,),
            0 if first else 1,
            36.0,
            (f"{number}a",),
        )
        for number in range(3)
    )
    space = {"train.lr": "0.0002 to 0.02, logarithmic", "model.dropout": "0 to 0.7"}
    dropped = {"train.encoder_lr_scale": "the encoder is frozen"}
    return Tuning(n, "auc", (1000, 1001, 1002), space, dropped, trials, chosen)


def write(out: Path, model: str, chosen: int | None, *, strength: float, seeds: int = 2, **options: Any) -> None:
    """A method at its recipe and, if trials chose one, with their settings."""
    for seed in range(seeds):
        record = {} if chosen is None else {folder.TUNING: tuning(chosen, **options).to_dict()}
        place = out / model / f"seed{seed}"
        run_folders.write(place, model, seed=seed, strength=strength, files=None if chosen else record)
        if chosen:
            changed = {"train": {"lr": RATES[chosen]}, "model": {"dropout": [0.5, 0.2, 0.6][chosen]}}
            place = out / model / f"seed{seed}-tuned"
            run_folders.write(place, model, seed=seed, strength=strength + 0.5, overrides=changed, files=record)


def comparison(out: Path) -> Comparison:
    [found] = analyse(collect([out]).runs, n_resamples=50).comparisons
    return found


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """The trials of concat chose one of them, those of film the recipe."""
    write(tmp_path, "concat", 1, strength=1.0)
    write(tmp_path, "film", 0, strength=1.2)
    return tmp_path


@pytest.mark.slow
def test_tuned_methods_and_their_recipes_are_compared(tuned: Path) -> None:
    result = comparison(tuned)
    by_label = {method.label: method for method in result.methods}
    assert set(by_label) == {f"{name} ({which})" for name in ("concat", "film") for which in ("tuned", "at the recipe")}
    assert result.reference == "concat (tuned)"
    assert {test.method for test in result.tests} == {"film (tuned)"}
    assert not result.ablation_tests
    assert {(test.method, test.reference) for test in result.recipe_tests} == {
        (f"{name} (at the recipe)", f"{name} (tuned)") for name in ("concat", "film")
    }
    assert {label for label, method in by_label.items() if method.ranks} <= {"concat (tuned)", "film (tuned)"}
    assert all([run.seed for run in method.runs] == [0, 1] for method in by_label.values())
    same = by_label["film (tuned)"].scores["auc"], by_label["film (at the recipe)"].scores["auc"]
    assert same[0] == same[1]
    # The recipe's settings, so that methods and ablations are found; nothing is said to be trained otherwise.
    assert by_label["concat (tuned)"].settings == by_label["concat (at the recipe)"].settings
    assert not [caution for caution in result.cautions if caution.kind == "tuning"]
    assert sum(env.n_runs for env in result.surroundings) == 0


@pytest.mark.slow
def test_headline_of_tuned_comparison(tuned: Path, tmp_path: Path) -> None:
    result = comparison(tuned)
    chapter = Chapter.of(result, 1, 0.95)
    assert answer(chapter, "concat").startswith("Tuned with 2 trials each: ")
    assert compared(chapter).startswith("2 methods (")
    assert compared(chapter).endswith("2 seeds, 6 runs in all.")
    write(tuned, "late", None, strength=1.0)
    mixed = comparison(tuned)
    assert answer(Chapter.of(mixed, 1, 0.95), "concat").startswith("With unequal tuning: ")
    [caution] = [caution.text for caution in mixed.cautions if caution.kind == "tuning"]
    assert "the same number of trials (" in caution
    assert all(words in caution for words in ("concat (tuned) 2", "film (tuned) 2", "late none"))


@pytest.mark.slow
def test_budgets_are_separate_methods(tuned: Path) -> None:
    for seed in range(2):
        record = {folder.TUNING: tuning(2, 4).to_dict()}
        changed = {"train": {"lr": RATES[2]}, "model": {"dropout": 0.6}}
        run_folders.write(tuned / f"more{seed}", "concat", seed=seed, overrides=changed, files=record)
    result = comparison(tuned)
    labels = {method.label for method in result.methods}
    assert {"concat (tuned, 2 trials)", "concat (tuned, 4 trials)", "concat (at the recipe)"} <= labels
    [test] = [test for test in result.recipe_tests if test.metric == "auc" and test.method.startswith("concat")]
    assert test.reference == "concat (tuned, 4 trials)"


@pytest.mark.slow
def test_ablations_of_tuned_methods_are_tested(tmp_path: Path) -> None:
    write(tmp_path, "cfcml", 1, strength=1.0)
    ablation = {"model": {"crossmodal_weight": 0.0}}
    for seed in range(2):
        run_folders.write(tmp_path / f"recipe{seed}", "cfcml", seed=seed, overrides=ablation)
        changed = {"train": {"lr": RATES[2]}, "model": {"dropout": 0.6, **ablation["model"]}}
        files = {folder.TUNING: tuning(2).to_dict()}
        run_folders.write(tmp_path / f"tuned{seed}", "cfcml", seed=seed, overrides=changed, files=files)
    result = comparison(tmp_path)
    assert {method.label: method.whole for method in result.methods} == {
        "cfcml (tuned)": None,
        "cfcml (at the recipe)": "cfcml (tuned)",
        "cfcml: no-crossmodal-anchor (tuned)": "cfcml (tuned)",
        "cfcml: no-crossmodal-anchor (at the recipe)": "cfcml: no-crossmodal-anchor (tuned)",
    }
    assert {test.method for test in result.ablation_tests} == {"cfcml: no-crossmodal-anchor (tuned)"}


@pytest.mark.slow
def test_tuning_section(tuned: Path) -> None:
    analysis = analyse(collect([tuned]).runs, n_resamples=50)
    page, markdown, pictures = pages.render(analysis, {})
    section = markdown[markdown.index("Tuning: did every method") :]
    section = section[: section.index("### ", 10)]
    lines = [line.replace("\\", "") for line in section.splitlines() if line.startswith("| ")]
    assert any(line.startswith("| film (tuned) |") and "the recipe was chosen" in line for line in lines)
    assert "| film (tuned) | lr 0.002, dropout 0.5 | \u2013 | recipe | 0.8200 |" in lines
    assert "| concat (tuned) | lr 0.004, dropout 0.2 | lr (largest), dropout (smallest) | 1 | 0.8200 |" in lines
    assert "| train.lr | 0.0002 to 0.02, logarithmic | all |" in lines
    assert "| train.encoder_lr_scale | the encoder is frozen | all |" in lines
    # Of 0.80 and 0.72: the mean of one trial, and of two the better with probability 3/4.
    assert "| concat (tuned) | 0.700 | 0.760 | 0.780 |" in lines
    assert "| concat (tuned) | 3 | 0 | 0.03 | 36.0 |" in lines
    assert "0.06 hours of training in all" in section
    assert sum("expected" in picture.key for picture in pictures) == 1
    assert "Tuned with 2 trials each" in page


def test_damaged_record_is_reported(tuned: Path) -> None:
    path = tuned / "concat" / "seed0-tuned" / folder.TUNING
    damaged = {"{": "is not valid JSON", json.dumps({"format": 1, "chosen": 3}): "not what a sweep writes"}
    for content, words in damaged.items():
        path.write_text(content)
        assert words in run_folders.reasons(tuned)["seed0-tuned"]


def test_compact_copy_keeps_record(tuned: Path, tmp_path: Path) -> None:
    compact([tuned], tmp_path / "small")
    runs = collect([tmp_path / "small"]).runs
    assert sorted(run.tuning.chosen for run in runs if run.tuning is not None) == [0, 0, 1, 1]
