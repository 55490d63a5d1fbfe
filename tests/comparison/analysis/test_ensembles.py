from pathlib import Path

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis import analyse, ensembles
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.collect import collect
from mmfusion.comparison.report.tables import tables
from mmfusion.metrics.classification import best_threshold, evaluate

SEEDS = {"concat": (0, 1, 2), "cfcml": (0,), "gradient boosting": (0, 1)}


def written(tmp_path: Path, *, folds: tuple[int, ...] = (0,)) -> Comparison:
    for model, seeds in SEEDS.items():
        for seed in seeds:
            for fold in folds:
                row = model == "gradient boosting"
                run_folders.write(tmp_path / model / f"{seed}-{fold}", model, seed=seed, fold=fold, row=row)
    [comparison] = analyse(collect([tmp_path]).runs, n_resamples=60).comparisons
    return comparison


@pytest.mark.slow
def test_ensemble_averages_probabilities(tmp_path: Path) -> None:
    """With the threshold of the mean on validation. Methods with two seeds or more; no reference row, no single run."""
    comparison = written(tmp_path)
    [ensemble] = comparison.ensembles
    assert (ensemble.label, ensemble.sizes) == ("concat", (3,))
    runs = [run for run in collect([tmp_path]).runs if run.model == "concat"]
    p = np.mean([run.test.probabilities for run in runs], axis=0)
    held_out = np.mean([run.validation.probabilities for run in runs if run.validation], axis=0)
    assert runs[0].validation is not None
    threshold = best_threshold(held_out, runs[0].validation.labels)
    expected = evaluate(p, runs[0].test.labels, threshold=threshold, names=runs[0].classes)
    means = {name: score.mean for name, score in ensemble.scores.items()}
    assert means == pytest.approx({name: float(np.squeeze(value)) for name, value in expected.items()})
    [method] = [method for method in comparison.methods if method.label == "concat"]
    assert ensemble.single["auc"] == pytest.approx(method.scores["auc"].mean)


@pytest.mark.slow
def test_ensemble_interval_is_over_cases_only(tmp_path: Path) -> None:
    """As that of a single run with these probabilities."""
    [ensemble] = written(tmp_path).ensembles
    runs = [run for run in collect([tmp_path]).runs if run.model == "concat"]
    judged = [ensembles.judge(run) for run in runs]
    alone = ensembles.sample([ensembles.judge(ensembles.mean_run(judged))], n_resamples=60, seed=0)
    expected = ensembles.method_scores(alone, lambda run: dict(run.raw), 0.95, None)["auc"]
    found = ensemble.scores["auc"]
    assert (found.low, found.high, found.error) == (expected.low, expected.high, expected.error)
    assert np.isnan(found.sd)


@pytest.mark.slow
def test_ensemble_does_not_change_tests_and_ranks(tmp_path: Path) -> None:
    comparison = written(tmp_path)
    assert {method.label for method in comparison.methods} == set(SEEDS)
    assert {test.method for test in comparison.tests} == {"cfcml", "gradient boosting"}


def test_thresholds_are_averaged_without_common_validation(tmp_path: Path) -> None:
    for seed, threshold in ((0, 0.2), (1, 0.6)):
        frame = run_folders.predictions(seed=seed, parts=("test",))
        metrics = {"threshold": threshold, "temperature": 1.5}
        run_folders.write(tmp_path / str(seed), "concat", seed=seed, frame=frame, metrics=metrics)
    judged = [ensembles.judge(run) for run in collect([tmp_path]).runs]
    run = ensembles.mean_run(judged)
    assert run.validation is None
    assert run.metrics["threshold"] == pytest.approx(0.4)
    assert run.metrics["temperature"] == 1.5


def test_different_test_cases_raise(tmp_path: Path) -> None:
    for seed, n in ((0, 60), (1, 30)):
        run_folders.write(tmp_path / str(seed), "concat", seed=seed, n=n)
    runs = collect([tmp_path]).runs
    with pytest.raises(ValueError, match="tested on the same cases"):
        ensembles.mean_run([ensembles.judge(run) for run in runs])
    assert all(not comparison.ensembles for comparison in analyse(runs, n_resamples=20).comparisons)


@pytest.mark.slow
def test_one_ensemble_per_fold(tmp_path: Path) -> None:
    [ensemble] = written(tmp_path, folds=(0, 1)).ensembles
    assert ensemble.sizes == (3, 3)
    assert len(ensemble.scores["auc"].points) == 2


@pytest.mark.slow
def test_ensembles_csv(tmp_path: Path) -> None:
    written(tmp_path)
    analysis = analyse(collect([tmp_path]).runs, n_resamples=20)
    header, *lines = tables(analysis, {})["ensembles.csv"].splitlines()
    assert header == "comparison,ensemble_of,models,metric,value,low,high,mean_of_models"
    assert len(lines) == len(analysis.comparisons[0].ensembles[0].scores)
    assert lines[0].split(",")[1:4] == ["concat", "3", "auc"]
