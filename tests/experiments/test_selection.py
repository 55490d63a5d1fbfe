import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmfusion import registry
from mmfusion.data.bundle import DataBundle
from mmfusion.experiments import evaluation
from mmfusion.experiments.selection import check_metric
from mmfusion.metrics.classification import NAMES
from mmfusion.training.progress import Progress, better
from mmfusion.training.reporter import Silent

ONE, BOTH = [1] * 4, [0, 1, 1]


@pytest.mark.parametrize(
    "metric", ["auc", "average_precision", "f1_macro", "mcc", "specificity", "accuracy_0", "auc+accuracy"]
)
def test_undefined_metric_raises(metric: str) -> None:
    check_metric(metric, BOTH, ("good", "bad"))
    with pytest.raises(
        ValueError, match=r"chooses the epoch on the validation set, which has no cases of 'good'"
    ) as caught:
        check_metric(metric, ONE, ("good", "bad"))
    text = str(caught.value)
    assert f"train.metric={metric} " in text
    # What it proposes instead can choose.
    proposed = text.partition("is defined: train.metric=")[2].split(" or ")
    assert len(proposed) > 2
    for other in proposed:
        check_metric(other, ONE, ("good", "bad"))


def test_absent_class_allows_means_of_others() -> None:
    for metric in NAMES:
        check_metric(metric, [0, 1, 1], ("a", "b", "c"))
    with pytest.raises(ValueError, match=re.escape("accuracy_2 is undefined there")):
        check_metric("auc+accuracy_2", [0, 1, 1], ("a", "b", "c"))


@pytest.mark.parametrize(("metric", "k"), [("accuracy_7", 2), ("auc+accuracy_3", 3), ("average_precision_called", 3)])
def test_metric_of_other_classes_raises(metric: str, k: int) -> None:
    with pytest.raises(
        ValueError, match=f"which is not defined for {k} classes; expected one of: auc, .*accuracy_{k - 1}"
    ):
        check_metric(metric, list(range(k)), [str(c) for c in range(k)])


@pytest.mark.slow
def test_run_with_undefined_metric_raises_at_start(
    start: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fakes: ModuleType, tmp_path: Path
) -> None:
    def single(**options: Any) -> DataBundle:
        bundle: DataBundle = fakes.dataset(**options)
        bad = bundle.validation.labels("dx") == 1
        return replace(bundle, validation=bundle.validation.subset(bad.nonzero().flatten()))  # type: ignore[attr-defined]  # of FrameDataset

    monkeypatch.setitem(registry.datasets._builders, "tiny", single)
    with pytest.raises(ValueError, match=r"train.metric=auc chooses the epoch on the validation set"):
        start()
    assert not (tmp_path / "run").exists()
    lines: list[str] = []

    class Lines(Silent):
        def say(self, text: str) -> None:
            lines.append(text)

    start("defined", {"train": {"metric": "log_loss", "epochs": 1}}, reporter=Lines())
    assert any("chosen by validation log_loss" in line for line in lines)
    assert any("which lacks a class, chooses no threshold" in line for line in lines)
    assert any(line.startswith("The validation set has no cases of 'good'") for line in lines)


def test_run_without_test_cases_raises_at_start(
    start: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, fakes: ModuleType, tmp_path: Path
) -> None:
    def without(**options: Any) -> DataBundle:
        bundle: DataBundle = fakes.dataset(**options)
        return replace(bundle, test=bundle.test.subset([]))  # type: ignore[attr-defined]  # of FrameDataset

    monkeypatch.setitem(registry.datasets._builders, "tiny", without)
    with pytest.raises(ValueError, match="tiny has no test set with these options"):
        start()
    assert not (tmp_path / "run").exists()


def test_last_epoch_is_kept_while_metric_is_undefined() -> None:
    progress = Progress()
    assert better(None, progress, "auc")
    progress.best_epoch = 1
    assert better(None, progress, "auc")
    assert better(0.4, progress, "auc")
    progress.best_value = 0.4
    assert not better(None, progress, "auc")
    assert not better(0.4, progress, "auc")
    assert better(0.3, progress, "log_loss")


def test_epoch_without_choice_is_not_reported_as_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a run of an older version."""
    lines: list[str] = []

    class Lines(Silent):
        def say(self, text: str) -> None:
            lines.append(text)

    monkeypatch.setattr(evaluation.run_report, "table", lambda metrics: None)
    monkeypatch.setattr(evaluation.run_report, "sentences", lambda metrics: [])
    cost = {"epochs": 3, "seconds": 1.0, "train_cases_per_second": 1.0, "share_waiting_for_data": 0.0}
    chosen = {"epoch": 1, "metric": "auc", "value": None}
    evaluation.show(tmp_path, {"cost": cost, "chosen": chosen, "notes": []}, Lines())
    assert lines[0].startswith(
        "Epoch 1 of 3 kept, but not chosen: validation auc is undefined in every epoch; training"
    )
