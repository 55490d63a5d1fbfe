import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from mmfusion.experiments import run_report
from mmfusion.metrics.intervals import Estimate


def summary(k: int, ceilings: dict[str, float] | None = None, *, copies: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(60) % k, copies)
    logits = rng.normal(size=(60, k)).repeat(copies, axis=0)
    logits[np.arange(len(y)), y] += 1
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    parts = ("validation", "test")
    groups = [f"g{i // copies}" for i in range(len(y))]
    found = run_report.summarize(
        dict.fromkeys(parts, p),
        dict.fromkeys(parts, y),
        dict.fromkeys(parts, groups),
        names=[f"c{i}" for i in range(k)],
        ceilings=ceilings or {},
        resamples=100,
        seed=0,
    )
    return {"model": "m", "dataset": "d", "seed": 0, "notes": ["Mind the gap."], **found}


def rendered(metrics: dict[str, Any]) -> str:
    file = io.StringIO()
    Console(width=140, file=file).print(run_report.table(metrics))
    return file.getvalue()


def test_metrics_have_intervals() -> None:
    metrics = summary(2)
    text = rendered(metrics)
    for name, value in metrics["test"].items():
        row = next(line for line in text.splitlines() if f" {name} " in line)
        if name in ("ece", "g_mean", "balanced_accuracy", "f1_macro", "f1_weighted", "mcc"):  # 30 cases of a class
            assert f" {value['value']:.3f} " in row
        else:
            assert f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" in row
    assert "95% intervals for other test cases only." in text
    assert "ceiling" not in text
    assert "60 cases" in text


def test_groups_are_counted() -> None:
    assert "180 cases in 60 groups" in rendered(summary(2, copies=3))


def test_ceilings_are_listed_next_to_auc() -> None:
    metrics = summary(2, {"image": 0.8, "table": 0.75, "both": 0.92})
    row = next(line for line in rendered(metrics).splitlines() if " auc " in line)
    assert "image 0.800, table 0.750, both 0.920" in row
    lines = run_report.sentences(metrics)
    assert lines[0].startswith("Share of the gap closed")
    assert lines[-1] == "Mind the gap."


def test_no_threshold_with_three_classes() -> None:
    metrics = summary(3)
    assert metrics["threshold"] is None
    assert not any("threshold" in line for line in run_report.sentences(metrics))


def test_caption_names_source_of_error() -> None:
    """The test cases only: one run carries no information about other training runs."""
    metrics = summary(2)
    assert "95% intervals for other test cases only." in " ".join(rendered(metrics).split())
    assert not any("standard error" in line or "noise" in line for line in run_report.sentences(metrics))


def test_no_caption_without_intervals() -> None:
    metrics = summary(2)
    metrics["test"] = {name: {**value, "low": None, "high": None} for name, value in metrics["test"].items()}
    assert "intervals" not in rendered(metrics)


def test_undefined_metric_is_shown() -> None:
    metrics = summary(2)
    metrics["test"]["auc"] = dict.fromkeys(("value", "low", "high", "error"))
    assert "undefined" in rendered(metrics)


def test_gap_closed_by_hand() -> None:
    ceilings = {"image": 0.7, "table": 0.8, "both": 0.9}
    share = run_report.gap_closed(Estimate(0.85, 0.8, 0.9, 0.02), ceilings)
    assert share == pytest.approx({"value": 0.5, "low": 0.0, "high": 1.0, "error": 0.2})


@pytest.mark.parametrize("ceilings", [{}, {"both": 0.9}, {"image": 0.9, "table": 0.7, "both": 0.9}])
def test_gap_closed_without_gap_is_none(ceilings: dict[str, float]) -> None:
    assert run_report.gap_closed(Estimate(0.85, 0.8, 0.9, 0.02), ceilings) is None


def test_temperature_is_fitted_on_validation() -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(2, size=50)
    sure = np.where(rng.random(50) < 0.75, y, 1 - y)
    sharp = np.where(sure[:, None] == [0, 1], 0.99, 0.01)
    right = float((sure == y).mean())
    found = run_report.summarize(
        {"validation": sharp, "test": sharp[:30]},
        {"validation": y, "test": y[:30]},
        {part: [str(i) for i in range(n)] for part, n in (("validation", 50), ("test", 30))},
        names=["a", "b"],
        ceilings={},
        resamples=50,
        seed=0,
    )
    # At the optimum the probability of the likeliest class is the share of validation that is right.
    assert 1 / (1 + 99 ** (-1 / found["temperature"])) == pytest.approx(right, abs=1e-4)
    assert set(found["scaled"]) == {"validation", "test"}
    assert set(found["scaled"]["test"]) == {"brier", "ece", "log_loss"}
    surprise = np.where(sure[:30] == y[:30], -np.log(right), -np.log(1 - right)).mean()
    assert found["scaled"]["test"]["log_loss"]["value"] == pytest.approx(surprise, abs=1e-4)
    assert found["scaled"]["validation"]["ece"]["value"] == pytest.approx(0, abs=1e-4)
    lines = run_report.sentences({"notes": [], **found})
    assert any(f"Scaled by the temperature {found['temperature']:.2f}" in line for line in lines)


def test_nonfinite_output_gives_no_metrics() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1], size=40)
    y = np.arange(40) % 2
    broken = p.copy()
    broken[3] = np.nan
    for bad, undefined in (("test", {"test"}), ("validation", {"validation"})):
        parts = {"validation": p, "test": p} | {bad: broken}
        found = run_report.summarize(
            parts,
            dict.fromkeys(parts, y),
            {part: [str(i) for i in range(40)] for part in parts},
            names=["a", "b"],
            ceilings={"image": 0.5, "table": 0.6, "both": 0.9},
            resamples=20,
            seed=0,
        )
        assert found["not_finite"] == {bad: 1}
        for part in parts:
            values = {name: one["value"] for name, one in found[part].items()}
            assert "accuracy_a" in values
            assert (values["auc"] is None) == (part in undefined)
            assert not undefined & {part} or set(values.values()) == {None}
        # A threshold is chosen on validation, and with it what it decides.
        assert (found["threshold"] is None) == (bad == "validation")
        assert found["test"]["g_mean"]["value"] is None
        assert found["temperature"] is None
        metrics = {"model": "m", "dataset": "d", "seed": 0, "notes": [], **found}
        assert "undefined" in rendered(metrics)
        assert run_report.sentences(metrics)[0].startswith(
            f"The output for 1 of 40 cases of the {bad} set is not finite"
        )


def one_class(n: int, label: int, k: int = 2) -> tuple[np.ndarray, np.ndarray]:
    p = np.random.default_rng(n).dirichlet(np.ones(k), n)
    return p, np.full(n, label)


def test_test_set_of_one_class_is_reported_once() -> None:
    held_out = {"validation": one_class(10, 0), "test": one_class(12, 0)}
    found = run_report.summarize(
        {part: p for part, (p, _) in held_out.items()},
        {part: y for part, (_, y) in held_out.items()},
        {part: [str(i) for i in range(len(y))] for part, (_, y) in held_out.items()},
        names=["good", "bad"],
        ceilings={"image": 0.6, "table": 0.7, "both": 0.9},
        resamples=20,
        seed=0,
    )
    undefined = {name for name, value in found["test"].items() if value["value"] is None}
    assert {"auc", "average_precision", "f1_macro", "f1_weighted", "balanced_accuracy", "mcc", "g_mean"} <= undefined
    assert all(found["test"][name]["low"] is None for name in undefined)
    assert (found["threshold"], found["threshold_chosen"], found["temperature"]) == (0.5, False, 1.0)
    row = {"kind": "without", "modality": "meta", "share": None, "auc": None, "drop": None}
    tried = {"area": None, "rows": [row, {**row, "kind": "permuted"}]}
    metrics = {"model": "m", "dataset": "d", "seed": 0, "notes": [], "robustness": tried, **found}
    lines = run_report.sentences(metrics)
    assert not any("AUC is undefined" in line for line in lines)
    [of_test] = [line for line in lines if line.startswith("The test set has no cases of 'bad': undefined there are")]
    assert "average_precision" in of_test
    assert sum(line.startswith("The validation set has no cases of 'bad'") for line in lines) == 1
    assert (
        "Sensitivity, specificity and G-mean at 0.500, as validation, which lacks a class, chooses no threshold."
        in lines
    )
    assert any(line.startswith("Probabilities are not scaled") for line in lines)
    assert not any("gap" in line or "fitted on validation" in line for line in lines)
    assert rendered(metrics).count("undefined") >= 2 * len(undefined)


def test_absent_class_is_reported() -> None:
    metrics = summary(3)
    metrics["test"]["accuracy_c2"] = dict.fromkeys(("value", "low", "high", "error"))
    assert run_report.sentences(metrics)[0] == (
        "The test set has no cases of 'c2': undefined there are accuracy_c2; means over classes leave it out."
    )


def test_without_test_set_only_validation_is_shown() -> None:
    whole = summary(2, {"image": 0.7, "table": 0.6, "both": 0.9})
    probabilities, labels = np.full((6, 2), 0.5), np.arange(6) % 2
    metrics = whole | run_report.summarize(
        {"validation": probabilities},
        {"validation": labels},
        {"validation": list("abcdef")},
        names=("c0", "c1"),
        ceilings={},
        resamples=10,
        seed=0,
    )
    del metrics["test"]
    assert metrics["cases"] == {"validation": 6}
    assert "test\n" not in rendered(metrics)
    assert "6 cases" in rendered(metrics)
    assert run_report.sentences(metrics)[-2:] == ["The test set was not evaluated (run.test=false).", "Mind the gap."]
