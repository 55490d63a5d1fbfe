from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis.judged import judge
from mmfusion.comparison.analysis.paired import Compared, Rules, against, ranks
from mmfusion.comparison.analysis.resampling import sample
from mmfusion.comparison.analysis.results import Caution, PairedTest
from mmfusion.comparison.reading import read
from mmfusion.metrics.classification import NAMES
from mmfusion.metrics.definitions import difference_range
from mmfusion.metrics.differences import corrected_resampled_difference, detectable, equivalence, t_test
from mmfusion.metrics.paired_tests import holm

THREE = {"names": ("a", "b", "c")}


def sampled(path: Path, model: str, seeds: tuple[int, ...] = (0,), folds: tuple[int, ...] = (0,), **options: Any):
    runs = [
        judge(read(run_folders.write(path / f"{model}-{seed}-{fold}", model, seed=seed, fold=fold, **options)))
        for fold in folds
        for seed in seeds
    ]
    return Compared(model, sample(runs, n_resamples=200, seed=0))


def one_test(
    one: Compared, reference: Compared, metric: str = "auc", primary: str | None = None, margin: float | None = None
) -> tuple[PairedTest | None, list[Caution]]:
    found, cautions = against([one], reference, [metric], Rules(primary or metric, 0.95, margin))
    return (found[0] if found else None), cautions


SEEDS = (0, 1, 2, 3, 4)


def by_hand(one: Compared, other: Compared, metric: str) -> tuple[float, float, float]:
    """Mean difference, its standard error and degrees of freedom, by the formula."""
    pairs = list(zip(one.runs, other.runs, strict=True))
    d = np.array([a.raw[metric].value - b.raw[metric].value for a, b in pairs])
    drawn = np.array([a.raw[metric].drawn - b.raw[metric].drawn for a, b in pairs])
    v, each, s = drawn.mean(0).var(ddof=1), drawn.var(1, ddof=1).mean(), len(d)
    square = max(v, v + d.var(ddof=1) / s - (each - v) / (s - 1))
    n = one.runs[0].judged.test_cases.n_groups
    return d.mean(), square**0.5, square**2 / (v**2 / (n - 1) + (d.var(ddof=1) / s) ** 2 / (s - 1))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"per_group": 2}, THREE])
@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_several_seeds_combine_both_error_sources(tmp_path: Path, options: dict[str, Any], metric: str) -> None:
    one, other = (sampled(tmp_path, m, SEEDS, strength=s, **options) for m, s in (("cfcml", 1.2), ("concat", 1.0)))
    found, cautions = one_test(one, other, metric, margin=0.05)
    mean, error, degrees = by_hand(one, other, metric)
    assert found is not None
    assert not cautions
    assert (found.kind, found.n_runs, found.no_verdict) == ("cases and seeds", 5, "")
    assert (found.difference, found.error, found.degrees) == pytest.approx((mean, error, degrees))
    wanted = t_test(mean, error, degrees, bounds=difference_range(metric, 3))
    assert (found.low, found.high, found.p) == pytest.approx((wanted.low, wanted.high, wanted.p))
    same = equivalence(mean, error, degrees, 0.05, lower_is_better=metric == "log_loss")
    assert (found.p_no_worse, found.p_equal) == pytest.approx(tuple(same))
    assert found.detectable == pytest.approx(detectable(error, degrees))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "kind", "why"),
    [((0,), "cases", "two trained models"), ((0, 1, 2, 3), "cases and seeds", "4 seeds do not show")],
)
def test_fewer_than_five_seeds_have_no_verdict(tmp_path: Path, seeds: tuple[int, ...], kind: str, why: str) -> None:
    one, other = (sampled(tmp_path, m, seeds, strength=s) for m, s in (("cfcml", 5.0), ("concat", 0.1)))
    found, _ = one_test(one, other, margin=0.5)
    assert found is not None
    assert (found.kind, found.better, found.verdict) == (kind, None, "none")
    assert why in found.no_verdict
    assert np.isnan([found.p, found.p_holm, found.p_no_worse, found.p_equal]).all()
    # The interval of these models stays.
    assert 0 < found.low < found.difference < found.high
    assert ranks([one, other], Rules("auc", 0.95)) == {}


def test_one_seed_has_case_error_only(tmp_path: Path) -> None:
    one, other = sampled(tmp_path, "cfcml", strength=2.0), sampled(tmp_path, "concat", strength=1.0)
    found, _ = one_test(one, other)
    assert found is not None
    drawn = one.runs[0].raw["auc"].drawn - other.runs[0].raw["auc"].drawn
    assert (found.error, found.degrees) == pytest.approx((drawn.std(ddof=1), 59))


@pytest.mark.slow
def test_only_the_primary_metric_has_verdicts(tmp_path: Path) -> None:
    one, other = (sampled(tmp_path, m, SEEDS, strength=s) for m, s in (("cfcml", 5.0), ("concat", 0.1)))
    for metric, verdict in (("auc", "better"), ("accuracy", "none")):
        found, _ = one_test(one, other, metric, primary="auc")
        assert found is not None
        assert found.verdict == verdict
        assert np.isfinite([found.low, found.high]).all()


@pytest.mark.slow
def test_ece_has_difference_without_test(tmp_path: Path) -> None:
    one, other = (sampled(tmp_path, m, SEEDS, strength=s) for m, s in (("cfcml", 5.0), ("concat", 0.1)))
    found, _ = one_test(one, other, "ece")
    assert found is not None
    assert np.isfinite(found.difference)
    assert np.isnan([found.low, found.p]).all()
    assert "no interval of it" in found.reason


@pytest.mark.slow
def test_holm_counts_the_methods(tmp_path: Path) -> None:
    reference = sampled(tmp_path, "concat", SEEDS, strength=1.0, n=120)
    others = [
        sampled(tmp_path, m, SEEDS, strength=s, n=120) for m, s in (("max", 1.0), ("cfcml", 3.0), ("tabular", 0.1))
    ]
    found, _ = against(others, reference, ["brier"], Rules("brier", 0.95, 0.001))
    np.testing.assert_allclose([test.p_holm for test in found], holm([test.p for test in found]))
    # A lower Brier score is the better one; max says what the reference says.
    assert [test.verdict for test in found] == ["equal", "better", "worse"]
    by_label = ranks([reference, *others], Rules("brier", 0.95))
    assert by_label["cfcml"] == (1, 1)
    assert by_label["tabular"] == (4, 4)


@pytest.mark.slow
def test_seeds_of_a_fold_are_averaged_first(tmp_path: Path) -> None:
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


def test_folds_of_unknown_size_have_no_test(tmp_path: Path) -> None:
    options = {"folds": (0, 1, 2), "n": 30, "parts": ("test",)}
    first, other = (sampled(tmp_path, m, strength=s, **options) for m, s in (("max", 2.0), ("concat", 1.0)))
    result, cautions = one_test(first, other)
    assert result is not None
    assert np.isnan(result.p)
    assert result.reason == "no run recorded its number of training cases"
    assert "No run recorded its number of training cases" in cautions[0].text


@pytest.mark.slow
def test_equal_models_have_zero_difference(tmp_path: Path) -> None:
    first, other = (sampled(tmp_path, m, folds=(0, 1, 2, 3, 4), n=30) for m in ("max", "concat"))
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


def test_difference_intervals_are_in_range(tmp_path: Path) -> None:
    """Three folds of eight cases, each method right on some: Student's reach is beyond 1."""
    recorded = {"cases": {"train": 8}}
    methods = []
    for model, signs in (("max", (4, -4, 4)), ("concat", (-4, 4, 0))):
        runs = []
        for fold, strength in enumerate(signs):
            place = tmp_path / f"{model}{fold}"
            options = {"strength": strength, "n": 8, "metrics": recorded}
            runs.append(judge(read(run_folders.write(place, model, fold=fold, **options))))
        methods.append(Compared(model, sample(runs, n_resamples=40, seed=0)))
    metrics = [name for name in NAMES if name not in ("log_loss", "ece")]
    tests, _ = against(methods[:1], methods[1], metrics, Rules("auc", 0.95))
    cut = 0
    for test in tests:
        low, high = difference_range(test.metric, 2)
        assert low <= test.low <= test.difference <= test.high <= high, test
        cut += test.low == low
    assert cut > 3


def test_only_common_runs_are_paired(tmp_path: Path) -> None:
    first, other = sampled(tmp_path, "max", (0, 1, 2)), sampled(tmp_path, "concat", (1, 2, 3))
    result, cautions = one_test(first, other)
    assert result is not None
    assert result.n_runs == 2
    assert [c.kind for c in cautions] == ["pairing"]
    assert "compared on the 2 that they have in common" in cautions[0].text


def test_no_common_runs_is_cautioned(tmp_path: Path) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(30, 60, 45), (30, 30, 30)])
@pytest.mark.parametrize("metric", ["auc", "accuracy"])
def test_seeds_of_other_cases_are_separate_test_sets(tmp_path: Path, sizes: tuple[int, ...], metric: str) -> None:
    """One fold with several test sets: within one the seeds are averaged, and no two are merged."""
    first, other = (several_parts(tmp_path, m, sizes, s) for m, s in (("max", 2.0), ("concat", 1.0)))
    result, cautions = one_test(first, other, metric)
    pairs = zip(first.runs, other.runs, strict=True)
    by_part = np.array([a.raw[metric].value - b.raw[metric].value for a, b in pairs]).reshape(3, 2).mean(1)
    wanted = corrected_resampled_difference(by_part, n_train=100, n_test=np.mean(sizes))
    assert result is not None
    assert not cautions
    assert (result.kind, result.n_runs) == ("corrected resampled t", 6)
    assert (result.difference, result.low, result.high, result.p) == pytest.approx(tuple(wanted))
