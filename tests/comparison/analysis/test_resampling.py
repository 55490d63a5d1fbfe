import time
from pathlib import Path

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis.judged import judge
from mmfusion.comparison.analysis.resampling import sample
from mmfusion.comparison.analysis.scoring import method_scores
from mmfusion.comparison.analysis.subgroups import subgroup_rows
from mmfusion.comparison.reading import read
from mmfusion.metrics.calibration import fit_temperature
from mmfusion.metrics.classification import best_threshold, evaluate
from mmfusion.metrics.intervals import estimates


def test_metrics_match_those_of_run(tmp_path: Path) -> None:
    """Point values equal those of the run; the interval is the bootstrap's of the same cases."""
    run = read(run_folders.write(tmp_path / "a", n=60, per_group=2))
    judged = judge(run)
    assert run.validation is not None
    assert judged.threshold == best_threshold(run.validation.probabilities, run.validation.labels)
    assert judged.temperature == fit_temperature(run.validation.probabilities, run.validation.labels)
    [result] = sample([judged], n_resamples=400, seed=0)
    wanted = evaluate(run.test.probabilities, run.test.labels, threshold=judged.threshold, names=run.classes)
    assert {name: drawn.value for name, drawn in result.raw.items()} == pytest.approx(
        {name: value[0] for name, value in wanted.items()}
    )
    rows = estimates(run.test.probabilities, run.test.labels, run.test.groups.tolist(), n_resamples=2000)["auc"]
    mine = method_scores([result], lambda one: dict(one.raw), 0.95, None)["auc"]
    assert mine.error == pytest.approx(rows.error, rel=0.15)
    assert np.isnan(mine.sd)
    assert mine.points == (rows.value,)


def test_fixed_threshold_is_kept(tmp_path: Path) -> None:
    fixed = {"overrides": {"train": {"threshold": 0.3}}, "metrics": {"threshold": 0.3}}
    run = read(run_folders.write(tmp_path / "a", n=60, **fixed))
    assert run.validation is not None
    assert best_threshold(run.validation.probabilities, run.validation.labels) != 0.3
    assert judge(run).threshold == 0.3


def test_stored_choices_are_used_without_validation(tmp_path: Path) -> None:
    stored = {"threshold": 0.3, "temperature": 1.5}
    judged = judge(read(run_folders.write(tmp_path / "a", n=6, parts=("test",), metrics=stored)))
    assert (judged.threshold, judged.temperature) == (0.3, 1.5)
    bare = judge(read(run_folders.write(tmp_path / "b", n=6, parts=("test",))))
    assert (bare.threshold, bare.temperature, bare.scaled) == (0.5, None, None)
    three = {"names": ("a", "b", "c"), "metrics": stored}
    assert judge(read(run_folders.write(tmp_path / "c", n=6, **three))).threshold is None


def test_invariant_to_case_order(tmp_path: Path) -> None:
    frame = run_folders.predictions(n=30)
    single = read(run_folders.write(tmp_path / "a", frame=frame))
    other = read(run_folders.write(tmp_path / "b", frame=frame.sample(frac=1, random_state=0)))
    first, second = sample([judge(single), judge(other)], n_resamples=50, seed=0)
    assert first.judged.test_set == second.judged.test_set
    np.testing.assert_array_equal(first.raw["auc"].drawn, second.raw["auc"].drawn)


def test_runs_share_resamples_and_folds_do_not(tmp_path: Path) -> None:
    runs = [
        read(run_folders.write(tmp_path / f"{model}{fold}", model, n=30, fold=fold))
        for model in ("concat", "max")
        for fold in (0, 1)
    ]
    result = sample([judge(run) for run in runs], n_resamples=50, seed=0)
    np.testing.assert_array_equal(result[0].weights, result[2].weights)
    assert (result[0].weights != result[1].weights).any()
    # The same numbers again, whatever else is there.
    [again] = sample([judge(runs[1])], n_resamples=50, seed=0)
    np.testing.assert_array_equal(again.raw["auc"].drawn, result[1].raw["auc"].drawn)
    [other] = sample([judge(runs[1])], n_resamples=50, seed=1)
    assert (other.raw["auc"].drawn != again.raw["auc"].drawn).any()


def test_test_sets_of_one_fold_have_separate_resamples(tmp_path: Path) -> None:
    """As many cases of each class, but others: with the same draws they would be correlated."""
    runs = []
    for seed, name in enumerate(("a", "a", "b")):
        frame = run_folders.predictions(seed=seed, n=30)
        frame[["id", "group"]] = name + frame[["id", "group"]]
        runs.append(judge(read(run_folders.write(tmp_path / str(seed), seed=seed, frame=frame))))
    first, second, other = sample(runs, n_resamples=50, seed=0)
    np.testing.assert_array_equal(first.weights, second.weights)
    assert (first.weights != other.weights).any()
    # A fold's only part is drawn as before, and in any order of the runs.
    [alone] = sample(runs[:1], n_resamples=50, seed=0)
    [folds] = sample([judge(read(run_folders.write(tmp_path / "c", n=30)))], n_resamples=50, seed=0)
    np.testing.assert_array_equal(alone.weights, folds.weights)
    again, _, _ = sample(runs[::-1], n_resamples=50, seed=0)
    np.testing.assert_array_equal(again.weights, other.weights)


def test_temperature_changes_calibration_metrics_only(tmp_path: Path) -> None:
    run = read(run_folders.write(tmp_path / "a", n=30, metrics={"temperature": 2.0}, parts=("test",)))
    [result] = sample([judge(run)], n_resamples=20, seed=0)
    assert set(result.scaled) == {"brier", "ece", "log_loss"}
    p = np.sqrt(run.test.probabilities)
    p /= p.sum(1, keepdims=True)
    assert result.scaled["log_loss"].value == pytest.approx(evaluate(p, run.test.labels)["log_loss"][0])


def test_bands_are_sorted_with_unknown_last(tmp_path: Path) -> None:
    ages = ["60 and over", "below 40", "unknown", "40 to 60", "", "below 40"]
    text = "id,age\n" + "".join(f"t0-{i:03d},{age}\n" for i, age in enumerate(ages))
    judged = judge(read(run_folders.write(tmp_path / "a", n=6, files={"subgroups.csv": text})))
    rows = subgroup_rows(judged)
    assert list(rows) == [("age", age) for age in ("below 40", "40 to 60", "60 and over", "unknown")]
    np.testing.assert_array_equal(rows["age", "below 40"], [1, 5])


@pytest.mark.slow
def test_runtime_of_10000_resamples(tmp_path: Path) -> None:
    """A twelfth of what twelve models may take, and the common drawing; see the speed benchmark."""
    run = read(run_folders.write(tmp_path / "a", n=2000, names=tuple("abcdefg"), per_group=2))
    began = time.process_time()
    [result] = sample([judge(run)], n_resamples=10_000, seed=0)
    assert time.process_time() - began < 5
    assert result.raw["auc"].drawn.shape == (10_000,)
