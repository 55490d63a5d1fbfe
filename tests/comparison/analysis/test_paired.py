from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis.paired import Compared, against
from mmfusion.comparison.analysis.resampling import Sampled, judge, sample
from mmfusion.comparison.analysis.results import Caution, PairedTest
from mmfusion.comparison.reading import read
from mmfusion.metrics.classification import NAMES
from mmfusion.metrics.definitions import difference_range
from mmfusion.metrics.differences import corrected_resampled_difference
from mmfusion.metrics.paired_tests import compare, compare_auc, holm, mcnemar

THREE = {"names": ("a", "b", "c")}


def sampled(path: Path, model: str, seeds: tuple[int, ...] = (0,), folds: tuple[int, ...] = (0,), **options: Any):
    runs = [
        judge(read(run_folders.write(path / f"{model}-{seed}-{fold}", model, seed=seed, fold=fold, **options)))
        for fold in folds
        for seed in seeds
    ]
    return Compared(model, sample(runs, n_resamples=200, seed=0))


def one_test(first: Compared, reference: Compared, metric: str = "auc") -> tuple[PairedTest | None, list[Caution]]:
    result, cautions = against([first], reference, [metric], 0.95)
    return (result[0] if result else None), cautions


def p1(run: Sampled) -> np.ndarray:
    return run.judged.cases.probabilities[:, 1]


def test_one_seed_of_two_classes_is_delongs(tmp_path: Path) -> None:
    first, other = sampled(tmp_path, "cfcml", strength=2.0), sampled(tmp_path, "concat", strength=1.0)
    result, cautions = one_test(first, other)
    wanted = compare_auc(p1(first.runs[0]), p1(other.runs[0]), first.runs[0].judged.cases.labels)
    assert result is not None
    assert not cautions
    assert (result.method, result.reference, result.kind, result.n_runs) == ("cfcml", "concat", "delong", 1)
    assert (result.difference, result.low, result.high, result.p) == pytest.approx(tuple(wanted))
    assert result.p_holm == result.p


@pytest.mark.parametrize("options", [{"seeds": (0, 1)}, {"per_group": 2}, THREE])
def test_otherwise_a_paired_bootstrap(tmp_path: Path, options: dict[str, Any]) -> None:
    first, other = (sampled(tmp_path, model, strength=s, **options) for model, s in (("cfcml", 2.0), ("concat", 1.0)))
    result, _ = one_test(first, other)
    assert result is not None
    assert result.kind == "bootstrap"
    pairs = list(zip(first.runs, other.runs, strict=True))
    assert result.n_runs == len(pairs)
    drawn = np.mean([a.raw["auc"].drawn - b.raw["auc"].drawn for a, b in pairs], axis=0)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    if len(pairs) == 1:
        runs = [run.judged.cases for run in pairs[0]]
        groups = runs[0].groups.tolist()
        by_hand = compare(runs[0].probabilities, runs[1].probabilities, runs[0].labels, groups, n_resamples=2000)
        assert result.difference == pytest.approx(by_hand.mean)
        assert (result.low, result.high) == pytest.approx((by_hand.low, by_hand.high), abs=0.03)


def test_accuracy_of_one_seed_is_mcnemars(tmp_path: Path) -> None:
    first, other = (sampled(tmp_path, m, strength=s, n=90, **THREE) for m, s in (("max", 1.5), ("concat", 1)))
    result, _ = one_test(first, other, "accuracy")
    y = first.runs[0].judged.cases.labels
    called = [x.runs[0].judged.cases.probabilities.argmax(1) for x in (first, other)]
    assert result is not None
    assert result.kind == "mcnemar"
    assert result.p == mcnemar(*called, y)
    assert result.difference == pytest.approx((called[0] == y).mean() - (called[1] == y).mean())
    assert np.isnan([result.low, result.high]).all()


def test_accuracy_of_several_seeds_is_of_their_mean(tmp_path: Path) -> None:
    """Not of the ensemble of the seeds, which here differs from the reference the other way."""
    y = np.arange(60) % 2
    # Of three seeds each method's each is wrong on cases of its own, those of the reference together on the same ten.
    wrong = {"max": [range(20 * s, 20 * s + 15) for s in range(3)], "concat": [range(10)] * 3}
    methods = []
    for model, of_seeds in wrong.items():
        runs = []
        for seed, at in enumerate(of_seeds):
            frame = run_folders.predictions(seed=seed, parts=("test",))
            says = np.where(np.isin(np.arange(60), list(at)), 1 - y, y)
            frame["label"] = np.array(["nevus", "melanoma"])[y]
            frame["prob_melanoma"] = 0.1 + 0.8 * says
            frame["prob_nevus"] = 1 - frame["prob_melanoma"]
            runs.append(judge(read(run_folders.write(tmp_path / f"{model}{seed}", model, seed=seed, frame=frame))))
        methods.append(Compared(model, sample(runs, n_resamples=400, seed=0)))
    first, other = methods
    ensemble = np.mean([run.judged.cases.probabilities for run in first.runs], axis=0).argmax(1)
    assert (ensemble == y).all()
    result, _ = one_test(first, other, "accuracy")
    assert result is not None
    assert (result.kind, result.n_runs) == ("bootstrap", 3)
    assert result.difference == pytest.approx(45 / 60 - 50 / 60)
    pairs = zip(first.runs, other.runs, strict=True)
    drawn = np.mean([a.raw["accuracy"].drawn - b.raw["accuracy"].drawn for a, b in pairs], axis=0)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    assert result.low < result.difference < result.high


def test_accuracy_of_patients_with_several_cases_is_bootstrapped(tmp_path: Path) -> None:
    first, other = sampled(tmp_path, "max", per_group=2), sampled(tmp_path, "concat", per_group=2)
    result, _ = one_test(first, other, "accuracy")
    assert result is not None
    assert result.kind == "bootstrap"


def test_folds_are_one_difference_each(tmp_path: Path) -> None:
    """Seeds of a fold share their cases: they are averaged first."""
    options = {"metrics": {"cases": {"train": 100}}, "n": 30}
    first = sampled(tmp_path, "max", (0, 1), (0, 1, 2), strength=2.0, **options)
    other = sampled(tmp_path, "concat", (0, 1), (0, 1, 2), strength=1.0, **options)
    result, cautions = one_test(first, other)
    pairs = list(zip(first.runs, other.runs, strict=True))
    differences = np.array([a.raw["auc"].value - b.raw["auc"].value for a, b in pairs]).reshape(3, 2).mean(1)
    wanted = corrected_resampled_difference(differences, n_train=100, n_test=30)
    assert result is not None
    assert not cautions
    assert (result.kind, result.n_runs) == ("corrected resampled t", 6)
    assert (result.difference, result.low, result.high, result.p) == pytest.approx(tuple(wanted))


def test_folds_that_nobody_can_size(tmp_path: Path) -> None:
    options = {"folds": (0, 1, 2), "n": 30, "parts": ("test",)}
    first, other = (sampled(tmp_path, m, strength=s, **options) for m, s in (("max", 2.0), ("concat", 1.0)))
    result, cautions = one_test(first, other)
    assert result is not None
    assert np.isnan(result.p)
    assert result.reason == "no run recorded its number of training cases"
    assert "No run recorded its number of training cases" in cautions[0].text


def test_equal_models_differ_in_nothing(tmp_path: Path) -> None:
    first, other = (sampled(tmp_path, m, folds=(0, 1, 2), n=30) for m in ("max", "concat"))
    result, _ = one_test(first, other)
    assert result is not None
    assert (result.difference, result.p, result.better) == (0.0, 1.0, None)


@pytest.mark.parametrize("strength", [1.0, 2.0])
def test_two_folds_have_neither_interval_nor_test(tmp_path: Path, strength: float) -> None:
    recorded = {"cases": {"train": 100}}
    options = {"folds": (0, 1), "n": 30, "metrics": recorded}
    first, other = (sampled(tmp_path, m, strength=s, **options) for m, s in (("max", strength), ("concat", 1.0)))
    for metric in ("auc", "mcc", "log_loss", "brier"):
        result, _ = one_test(first, other, metric)
        assert result is not None
        assert np.isfinite(result.difference)
        assert np.isnan([result.low, result.high, result.p]).all()
        assert result.reason == "2 folds are too few, an interval needs 3"


def test_every_interval_of_a_difference_is_possible(tmp_path: Path) -> None:
    """Three folds of eight cases, on which both methods are now right and now wrong: Student's reach is beyond 1."""
    recorded = {"cases": {"train": 8}}
    methods = []
    for model, signs in (("max", (4, -4, 4)), ("concat", (-4, 4, 0))):
        runs = []
        for fold, strength in enumerate(signs):
            place = tmp_path / f"{model}{fold}"
            options = {"strength": strength, "n": 8, "metrics": recorded}
            runs.append(judge(read(run_folders.write(place, model, fold=fold, **options))))
        methods.append(Compared(model, sample(runs, n_resamples=40, seed=0)))
    metrics = [name for name in NAMES if name != "log_loss"]
    tests, _ = against(methods[:1], methods[1], metrics, 0.95)
    cut = 0
    for test in tests:
        low, high = difference_range(test.metric, 2)
        assert low <= test.low <= test.difference <= test.high <= high, test
        cut += test.low == low
    assert cut > 3


def test_only_what_both_have_is_paired(tmp_path: Path) -> None:
    first, other = sampled(tmp_path, "max", (0, 1, 2)), sampled(tmp_path, "concat", (1, 2, 3))
    result, cautions = one_test(first, other)
    assert result is not None
    assert result.n_runs == 2
    assert [c.kind for c in cautions] == ["pairing"]
    assert "compared on the 2 that they have in common" in cautions[0].text


def test_nothing_in_common(tmp_path: Path) -> None:
    result, cautions = one_test(sampled(tmp_path, "max", (0,)), sampled(tmp_path, "concat", (1,)))
    assert result is None
    assert "no seed and fold in common" in cautions[0].text


def test_other_cases_are_not_paired(tmp_path: Path) -> None:
    first, other = sampled(tmp_path, "max", n=30), sampled(tmp_path, "concat", n=60)
    result, cautions = one_test(first, other)
    assert result is None
    assert "different test cases in 1 of 1 pairs" in cautions[0].text


def several_parts(path: Path, model: str, sizes: Sequence[int], strength: float) -> Compared:
    """Seeds of one fold, two of them with each test part: other cases, though there may be as many."""
    recorded = {"cases": {"train": 100}}
    runs = []
    for number, n in enumerate(sizes):
        for seed in (2 * number, 2 * number + 1):
            frame = run_folders.predictions(seed=seed, n=n, strength=strength)
            frame[["id", "group"]] = f"part{number}-" + frame[["id", "group"]]
            place = path / f"{model}-{seed}"
            runs.append(judge(read(run_folders.write(place, model, seed=seed, frame=frame, metrics=recorded))))
    return Compared(model, sample(runs, n_resamples=200, seed=0))


@pytest.mark.parametrize("sizes", [(30, 60, 45), (30, 30, 30)])
@pytest.mark.parametrize("metric", ["auc", "accuracy"])
def test_seeds_of_other_cases_are_other_parts(tmp_path: Path, sizes: tuple[int, ...], metric: str) -> None:
    """One fold with several test parts: within a part the seeds are averaged, and no two parts are taken for one."""
    first, other = (several_parts(tmp_path, m, sizes, s) for m, s in (("max", 2.0), ("concat", 1.0)))
    result, cautions = one_test(first, other, metric)
    pairs = zip(first.runs, other.runs, strict=True)
    by_part = np.array([a.raw[metric].value - b.raw[metric].value for a, b in pairs]).reshape(3, 2).mean(1)
    wanted = corrected_resampled_difference(by_part, n_train=100, n_test=np.mean(sizes))
    assert result is not None
    assert not cautions
    assert (result.kind, result.n_runs) == ("corrected resampled t", 6)
    assert (result.difference, result.low, result.high, result.p) == pytest.approx(tuple(wanted))


def test_holm_is_over_the_methods_of_one_metric(tmp_path: Path) -> None:
    reference = sampled(tmp_path, "concat", strength=1.0, n=120)
    others = [sampled(tmp_path, m, strength=s, n=120) for m, s in (("max", 1.0), ("cfcml", 3.0), ("tabular", 0.2))]
    result, _ = against(others, reference, ["auc", "brier"], 0.95)
    assert [(test.method, test.metric) for test in result] == [
        (m, metric) for metric in ("auc", "brier") for m in ("max", "cfcml", "tabular")
    ]
    for metric in ("auc", "brier"):
        rows = [test for test in result if test.metric == metric]
        np.testing.assert_allclose([test.p_holm for test in rows], holm([test.p for test in rows]))
        # A lower Brier score is the better one.
        assert [test.better for test in rows] == [None, True, False]
