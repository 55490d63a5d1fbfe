from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis import analyse
from mmfusion.comparison.analysis.results import Analysis, Comparison
from mmfusion.comparison.collect import collect
from mmfusion.comparison.report.tables import tables
from mmfusion.metrics.classification import evaluate

ENVIRONMENT = {"commit": "abc", "versions": {"torch": "2"}, "device": "cpu", "processor": "p"}


def analysed(path: Path, methods: Mapping[str, Mapping[str, Any]], **options: Any) -> Analysis:
    for name, how in methods.items():
        how = {"model": name, "seeds": (0, 1), "folds": (0,), **how}
        model, seeds, folds = how.pop("model"), how.pop("seeds"), how.pop("folds")
        for seed in seeds:
            for fold in folds:
                run_folders.write(path / name / f"{seed}-{fold}", model, seed=seed, fold=fold, **how)
    result = collect([path])
    assert not result.skipped
    return analyse(result.runs, **{"n_resamples": 40, **options})


def only(result: Analysis) -> Comparison:
    [comparison] = result.comparisons
    return comparison


def cautions(result: Analysis) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {}
    for caution in only(result).cautions:
        out.setdefault(caution.kind, []).append(caution.text)
    return out


@pytest.mark.slow
def test_methods_are_sorted_and_tested_against_reference(tmp_path: Path) -> None:
    methods = {
        "concat": {"strength": 1.0},
        "cfcml": {"strength": 2.5},
        "tabular": {"strength": 0.3},
        "logistic regression": {"row": True, "seeds": (0,), "strength": 0.6},
    }
    result = analysed(tmp_path, methods)
    comparison = only(result)
    assert [method.label for method in comparison.methods] == ["cfcml", "concat", "logistic regression", "tabular"]
    assert [method.is_row for method in comparison.methods] == [False, False, True, False]
    assert comparison.reference == "concat"
    assert {test.method for test in comparison.tests} == {"cfcml", "tabular", "logistic regression"}
    assert comparison.metrics[0] == "auc"
    best = comparison.methods[0]
    assert [(run.seed, run.fold) for run in best.runs] == [(0, 0), (1, 0)]
    assert best.scores["auc"].mean == pytest.approx(np.mean(best.scores["auc"].points))
    assert set(best.scaled) == {"brier", "ece", "log_loss"}
    assert (comparison.n_cases, comparison.n_groups, comparison.folds, comparison.seeds) == (60, 60, 1, (0, 1))
    assert sum(comparison.prevalence.values()) == 60
    assert comparison.n_validation == 60
    # The same call gives the same numbers.
    again = analyse(collect([tmp_path]).runs, n_resamples=40)
    assert tables(again, {}) == tables(result, {})


@pytest.mark.slow
def test_predictions_alone_rebuild_comparison(tmp_path: Path) -> None:
    """Without history, environment, robustness, subgroups, and without validation."""
    stored = {"threshold": 0.4, "temperature": 1.2}
    result = analysed(tmp_path, {"concat": {"parts": ("test",), "metrics": stored}, "max": {"parts": ("test",)}})
    first, second = sorted(only(result).methods, key=lambda method: method.label)
    assert {run.threshold for run in first.runs} == {0.4}
    assert first.scaled
    assert not second.scaled
    assert (first.learning, first.robustness, first.contributions, first.cost) == ((), None, (), None)
    assert np.isnan(only(result).n_validation)
    assert "0.5 is used for sensitivity" in cautions(result)["missing"][0]


@pytest.mark.slow
def test_folds_are_pooled(tmp_path: Path) -> None:
    methods = {name: {"folds": (0, 1, 2), "n": 30, "strength": s} for name, s in (("concat", 1.0), ("max", 2.0))}
    comparison = only(analysed(tmp_path, methods))
    assert (comparison.folds, comparison.n_cases) == (3, 90)
    assert len(comparison.methods[0].scores["auc"].points) == 6
    assert {test.kind for test in comparison.tests} == {"corrected resampled t"}
    assert "data" not in {caution.kind for caution in comparison.cautions}


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(30, 60), (30, 30)])
def test_fold_with_several_test_sets_is_split(tmp_path: Path, sizes: tuple[int, int]) -> None:
    """Other cases for other seeds, more of them or as many: two comparisons, and the second says why."""
    recorded = {"cases": {"train": 100}}
    for model, strength in (("concat", 1.0), ("max", 2.0)):
        for seed, n in enumerate(sizes):
            frame = run_folders.predictions(seed=seed, n=n, strength=strength)
            frame[["id", "group"]] = f"seed{seed}-" + frame[["id", "group"]]
            place = tmp_path / f"{model}-{seed}"
            run_folders.write(place, model, seed=seed, frame=frame, metrics=recorded)
    first, second = analyse(collect([tmp_path]).runs, n_resamples=40).comparisons
    message = [(item.folds, item.seeds, item.n_cases) for item in (first, second)]
    assert message == [(1, (0,), sizes[0]), (1, (1,), sizes[1])]
    assert {test.kind for item in (first, second) for test in item.tests} == {"cases"}
    assert [caution.kind for caution in second.cautions if caution.kind == "data"] == ["data"]


@pytest.mark.slow
@pytest.mark.parametrize("folds", [2, 3, 4])
def test_few_folds_are_cautioned(tmp_path: Path, folds: int) -> None:
    methods = {name: {"folds": range(folds), "n": 30, "strength": s} for name, s in (("concat", 1.0), ("max", 2.0))}
    texts = cautions(analysed(tmp_path, methods)).get("seeds", [])
    if folds == 4:
        assert not texts
    else:
        freedom = {2: "no difference has an interval or a test", 3: "2 degrees of freedom"}[folds]
        assert [freedom in text for text in texts] == [True]


@pytest.mark.slow
def test_temperature_at_bound_is_cautioned(tmp_path: Path) -> None:
    without = {"parts": ("test",)}
    methods = {
        "concat": {**without, "metrics": {"temperature": 20.0}},
        "max": {**without, "seeds": (0,), "metrics": {"temperature": 0.05}},
        "late": {**without, "metrics": {"temperature": 1.3}},
    }
    [texts] = cautions(analysed(tmp_path, methods))["calibration"]
    assert "concat 2" in texts
    assert "max 1" in texts
    assert "late" not in texts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "label", "texts"),
    [
        ("max", "max", None),
        ("concat[dim=16]", "concat[dim=16]", None),
        ("concat", "concat", None),
        ("gmu", None, "The reference gmu is not among the methods"),
    ],
)
def test_reference_is_chosen_or_named(tmp_path: Path, named: str, label: str | None, texts: str | None) -> None:
    methods = {"max": {}, "concat": {}, "other": {"model": "concat", "overrides": {"model": {"dim": 16}}}}
    result = analysed(tmp_path, methods, reference=named)
    comparison = only(result)
    assert comparison.reference == label
    assert [method.label for method in comparison.methods if method.is_reference] == [label] * (label is not None)
    if texts is not None:
        assert texts in cautions(result)["reference"][0]
        assert comparison.tests == ()


def test_ambiguous_reference_is_cautioned(tmp_path: Path) -> None:
    methods = {name: {"model": "concat", "overrides": {"model": {"dim": dim}}} for name, dim in (("a", 16), ("b", 32))}
    result = analysed(tmp_path, methods)
    assert only(result).reference is None
    assert "Several methods have the name concat (concat[dim=16], concat[dim=32])" in cautions(result)["reference"][0]


@pytest.mark.slow
def test_shown_metrics(tmp_path: Path) -> None:
    methods = {"concat": {"names": ("a", "b")}, "max": {"names": ("a", "b")}}
    shown = only(analysed(tmp_path, methods, metrics="men")).metrics
    assert shown == ("auc", "accuracy", "accuracy_a", "accuracy_b", "f1_weighted", "f1_macro")
    runs = collect([tmp_path]).runs
    result = only(analyse(runs, metrics=["brier"], ranks="brier", n_resamples=50))
    assert result.metrics == ("brier",)
    briers = [method.scores["brier"].mean for method in result.methods]
    assert briers == sorted(briers)
    with pytest.raises(ValueError, match="unknown metric 'area'"):
        analyse(runs, metrics="area")
    with pytest.raises(ValueError, match="unknown metric 'area'; there are: auc"):
        analyse(runs, metrics=["auc", "area"])
    with pytest.raises(ValueError, match=r"unknown metric 'accuracy_c'; there are: auc, .*, accuracy_a, accuracy_b, "):
        analyse(runs, metrics=["auc", "accuracy_c"])


@pytest.mark.slow
def test_average_precision_called_by_name(tmp_path: Path) -> None:
    """Tested like any other, and with two classes only."""
    name, sex = "average_precision_called", "id,sex\n" + "".join(f"t0-{i:03d},{'fm'[i % 2]}\n" for i in range(60))
    of_two = {model: {"strength": s, "files": {"subgroups.csv": sex}} for model, s in (("concat", 1.0), ("max", 2.0))}
    comparison = only(analysed(tmp_path / "two", of_two, metrics=[name]))
    assert comparison.metrics == ("auc", name)
    run = collect([tmp_path / "two" / "max" / "0-0"]).runs[0]
    wanted = evaluate(run.test.probabilities, run.test.labels, extra=[name])[name]
    assert comparison.methods[0].scores[name].points[0] == pytest.approx(wanted.item())
    assert comparison.methods[0].subgroups[0].scores[name].mean > 0
    assert [(test.method, test.kind) for test in comparison.tests if test.metric == name] == [
        ("max", "cases and seeds")
    ]
    assert name not in only(analysed(tmp_path / "all", of_two)).methods[0].scores
    of_three = {model: {"names": ("a", "b", "c"), "overrides": {"data": {"size": 32}}} for model in ("concat", "max")}
    with pytest.raises(
        ValueError, match=rf"unknown metric '{name}'; there are: auc, .*, accuracy_a, accuracy_b, accuracy_c"
    ):
        analysed(tmp_path / "three", of_three, metrics=[name])
    runs = collect([tmp_path / "two", tmp_path / "three"]).runs
    both = analyse(runs, metrics=["mcc", "accuracy_b", name], n_resamples=20).comparisons
    assert {entry.metrics for entry in both} == {("auc", "mcc", name), ("auc", "mcc", "accuracy_b")}
    with pytest.raises(ValueError, match=f"ranks expects a metric that every comparison has, got '{name}'"):
        analyse(runs, ranks=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "named"),
    [({}, "default"), ({"reference": "max"}, "report"), ({"reference": "max", "beforehand": True}, "beforehand")],
)
def test_reference_origin_is_recorded(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    assert only(analysed(tmp_path, {"concat": {"n": 12}, "max": {"n": 12}}, **options)).named == named


@pytest.mark.slow
def test_subgroups_have_counts(tmp_path: Path) -> None:
    test = run_folders.predictions(n=40)[lambda frame: frame["part"] == "test"]
    sex = np.where(np.arange(40) < 15, "f", "m")
    text = "id,sex\n" + "".join(f"{i},{s}\n" for i, s in zip(test["id"], sex))
    comparison = only(analysed(tmp_path, {"concat": {"n": 40, "files": {"subgroups.csv": text}}, "max": {"n": 40}}))
    by_label = {method.label: method for method in comparison.methods}
    assert by_label["max"].subgroups == ()
    women, men = by_label["concat"].subgroups
    assert (women.by, women.value, women.n_cases, women.n_groups) == ("sex", "f", 15, 15)
    labels = test["label"].to_numpy()
    assert women.of_class == {name: int((labels[:15] == name).sum()) for name in ("nevus", "melanoma")}
    assert men.n_cases == 25
    assert len(men.scores["auc"].points) == 2


@pytest.mark.slow
def test_cautions_of_runs(tmp_path: Path) -> None:
    history = [{"epoch": e + 1, "phase": p, "losses": {}, "validation": {}} for e, p in enumerate(("warm", "train"))]
    other = ENVIRONMENT | {"commit": "def+changes", "versions": {"torch": "3"}}
    note = {"metrics": {"notes": ["A column leaks."]}}
    methods = {
        "concat": {"files": {"environment.json": ENVIRONMENT}, **note},
        "max": {"files": {"environment.json": other}, "seeds": (0,), **note},
        "tip": {"files": {"history.json": history}, "overrides": {"train": {"lr": 0.5}}},
    }
    result = analysed(tmp_path, methods)
    texts = cautions(result)
    assert texts["note"] == ["A column leaks."]
    assert "standard error near" in texts["noise"][0]
    assert "All others are within twice that of the first" in texts["noise"][0]
    assert "(number of runs: max 1)" in texts["seeds"][0]
    assert "2 seeds on one split" in texts["seeds"][1]
    assert texts["budget"] == ["tip needs more than the equal budget: a phase before the supervised one (warm)."]
    assert "lr" in texts["tuning"][0]
    assert len(texts["versions"]) == 4
    [first, second] = only(result).surroundings
    assert (first.n_runs, first.commit, first.hardware) == (2, "abc", "p")
    assert (second.n_runs, second.versions) == (1, {"torch": "3"})


@pytest.mark.slow
def test_uneven_training_is_cautioned(tmp_path: Path) -> None:
    dim = {"model": {"dim": 16}}
    methods = {
        "concat": {"overrides": {**dim, "run": {"precision": "bf16"}}},
        "max": {"overrides": dim},
        "logistic regression": {"row": True},
    }
    result = analysed(tmp_path, methods)
    assert [method.label for method in only(result).methods if not method.is_row] == ["concat", "max"]
    texts = cautions(result)
    assert texts["tuning"] == ["Not all methods were trained with the same precision."]
    assert texts["options"] == [
        "All methods with these options have dim=16, which differs from the defaults, the recipe and the preset."
    ]
    assert "options" not in cautions(analysed(tmp_path / "own", {"concat": {"overrides": dim}, "max": {}}))


@pytest.mark.slow
@pytest.mark.parametrize("named", ["cfcml", "cfcml: no-enhancement", "cfcml[dim=16]: no-enhancement"])
def test_reference_is_found_by_requested_name(tmp_path: Path, named: str) -> None:
    """Whatever options its label shows."""
    without = {"model": "cfcml", "overrides": {"model": {"dim": 16, "enhancement": False}}}
    methods = {"cfcml": {"overrides": {"model": {"dim": 16}}}, "without": without, "image": {}}
    comparison = only(analysed(tmp_path, methods, reference=named))
    assert comparison.reference == "cfcml[dim=16]" + ": no-enhancement" * named.endswith("enhancement")


def test_no_runs_give_no_comparisons() -> None:
    assert analyse([]).comparisons == ()


def labelled(labels: list[str], fold: int, *, validation: str | None = None) -> pd.DataFrame:
    """Predictions whose test cases have these labels."""
    frame = run_folders.predictions(n=len(labels), fold=fold)
    frame.loc[frame["part"] == "test", "label"] = labels
    if validation is not None:
        frame.loc[frame["part"] == "validation", "label"] = validation
    return frame


@pytest.mark.slow
def test_absent_classes_are_cautioned_once(tmp_path: Path) -> None:
    """Fold 1 has one class: its AUC, average precision and MCC are in no mean, whatever its accuracy is."""
    mixed, single = ["nevus", "melanoma"] * 6, ["melanoma"] * 12
    for model in ("concat", "max"):
        for fold, labels in enumerate((mixed, single, mixed)):
            frame = labelled(labels, fold)
            run_folders.write(tmp_path / f"{model}{fold}", model, fold=fold, frame=frame)
    analysis = analyse(collect([tmp_path]).runs, n_resamples=20)
    [text] = cautions(analysis)["undefined"]
    assert text.startswith("The test set of fold 1 has no cases of 'nevus': undefined there are auc, average_precision")
    assert text.endswith("Means over the folds leave these folds out.")
    for method in only(analysis).methods:
        for metric in ("auc", "average_precision", "mcc", "f1_macro", "f1_weighted", "balanced_accuracy", "g_mean"):
            points = method.scores[metric].points
            assert np.isnan(points).tolist() == [False, True, False], metric
            assert method.scores[metric].mean == pytest.approx(np.nanmean(points))
        assert np.isfinite(method.scores["accuracy"].points).all()
    assert all(np.isnan(test.p) for test in only(analysis).tests if test.metric == "auc")


def test_single_class_validation_gives_no_threshold(tmp_path: Path) -> None:
    frame = labelled(["nevus", "melanoma"] * 6, 0, validation="nevus")
    run_folders.write(tmp_path / "concat", "concat", frame=frame)
    analysis = analyse(collect([tmp_path]).runs, n_resamples=20)
    result = cautions(analysis)
    assert "undefined" not in result
    assert "In 1 runs the validation set lacks a class and chooses no threshold" in result["missing"][0]
    assert "(concat 1) the validation set determines no temperature" in result["calibration"][0]
    assert only(analysis).methods[0].runs[0].threshold == 0.5


def test_single_class_test_set_has_undefined_metrics(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "concat", "concat", frame=labelled(["melanoma"] * 12, 0))
    comparison = only(analyse(collect([tmp_path]).runs, n_resamples=20, metrics="derm7pt"))
    scores = comparison.methods[0].scores
    defined = {name for name in comparison.metrics if np.isfinite(scores[name].mean)}
    assert defined == {"sensitivity", "accuracy"}
    assert all(np.isnan([scores[name].low, scores[name].high]).all() for name in set(comparison.metrics) - defined)
    curves = comparison.methods[0].curves
    for curve in (*curves.roc, *curves.precision_recall):
        assert np.isnan(curve.area)
        assert np.isnan(curve.y).all()


@pytest.mark.slow
def test_reference_rows_are_corrected_separately(tmp_path: Path) -> None:
    """However many there are, the corrected p of the methods stay the same."""
    seeds = range(5)
    methods = {"concat": {"seeds": seeds}, "cfcml": {"seeds": seeds, "strength": 1.7}}
    rows = {f"row {i}": {"row": True, "seeds": seeds, "strength": 1.4 + i / 10} for i in range(3)}
    alone = only(analysed(tmp_path / "alone", methods))
    among = only(analysed(tmp_path / "among", methods | rows))
    [before] = [test for test in alone.tests if test.metric == "auc"]
    after = {test.method: test for test in among.tests if test.metric == "auc"}
    assert next(iter(after)) == "cfcml"
    assert set(after) == {"cfcml", *rows}
    assert after["cfcml"].p_holm == before.p_holm == before.p
    assert after["cfcml"].detectable == before.detectable
    assert all(after[row].p_holm >= after[row].p for row in rows)
    assert max(after[row].p_holm / after[row].p for row in rows if after[row].p_holm < 1) > 1
