"""Loggers by what their packages read back."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import mmfusion as mmf
from mmfusion.experiments.run import Interrupted

SETTINGS = {"run": {"model": "tiny", "seed": 0}, "train": {"lr": 0.1}}
ENTRY = {"epoch": 2, "losses": {"ce": 0.5}, "validation": {"auc": 0.75, "ece": None}, "lr": 0.1, "seconds": 2.0}
METRICS = {"test": {"auc": {"value": 0.9}}}


def log(logger: mmf.Callback, metrics: Any = METRICS) -> None:
    logger.begin(Path("runs/a"), SETTINGS)
    logger.epoch({**ENTRY, "epoch": 1, "losses": {"ce": 1.5}})
    logger.epoch(ENTRY)
    logger.end(metrics)


@pytest.mark.slow
def test_tensorboard_records_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log(mmf.TensorBoardLogger(tmp_path))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss/ce")] == [(1, 1.5), (2, 0.5)]
    assert [(event.step, event.value) for event in events.Scalars("test/auc")] == [(2, pytest.approx(0.9))]
    assert "validation/ece" not in events.Tags()["scalars"]
    (text,) = events.Tensors("settings/text_summary")
    assert b"train.lr: 0.1" in text.tensor_proto.string_val[0]


@pytest.mark.slow
def test_mlflow_records_metrics_and_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    logger = mmf.MLflowLogger(uri, "derm", run_name="first")
    log(logger, None)
    client = mlflow.MlflowClient(tracking_uri=uri)
    assert client.get_run(logger.run_id).info.status == "FAILED", "an interrupted run"
    again = mmf.MLflowLogger(uri, "derm", run_id=logger.run_id)
    again.begin(Path("runs/a"), SETTINGS)
    assert client.get_run(logger.run_id).info.status == "RUNNING"
    again.epoch({**ENTRY, "epoch": 3})
    again.end(METRICS)
    run = client.get_run(logger.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.params == {"run.model": "tiny", "run.seed": "0", "train.lr": "0.1", "folder": "runs/a"}
    assert run.data.metrics["test/auc"] == 0.9
    history = client.get_metric_history(logger.run_id, "loss/ce")
    assert [(metric.step, metric.value) for metric in history] == [(1, 1.5), (2, 0.5), (3, 0.5)]
    (experiment,) = client.search_experiments(filter_string="name = 'derm'")
    assert run.info.experiment_id == experiment.experiment_id


def test_wandb_records_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the calls that wandb documents; the package is not among those of the tests."""
    calls: list[Any] = []
    run = SimpleNamespace(
        log=lambda values, step: calls.append((step, values["loss/ce"])),
        summary=SimpleNamespace(update=calls.append),
        finish=lambda exit_code: calls.append(exit_code),
    )
    module = ModuleType("wandb")
    monkeypatch.setattr(module, "init", lambda **options: calls.append(options) or run, raising=False)
    monkeypatch.setitem(sys.modules, "wandb", module)
    log(mmf.WandbLogger(project="derm"))
    config = {"run.model": "tiny", "run.seed": 0, "train.lr": 0.1}
    assert calls == [{"config": config, "project": "derm"}, (1, 1.5), (2, 0.5), {"test/auc": 0.9}, 0]


@pytest.mark.parametrize(
    ("logger", "module", "extra"),
    [
        (mmf.TensorBoardLogger("logs"), "torch.utils.tensorboard", "tensorboard"),
        (mmf.MLflowLogger(), "mlflow", "mlflow"),
        (mmf.WandbLogger(), "wandb", "wandb"),
    ],
)
def test_missing_package_raises(logger: mmf.Callback, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'pip install "mmfusion\[{extra}\]"'):
        logger.begin(Path("run"), SETTINGS)
    logger.end(None)  # nothing was begun


@pytest.mark.slow
def test_run_calls_loggers_after_saving(fakes: ModuleType, tmp_path: Path) -> None:
    """After each epoch is saved: a run stopped there resumes after it."""
    epochs: list[int] = []

    def stop(entry: Any) -> None:
        epochs.append(entry["epoch"])
        if len(epochs) == 1:
            raise KeyboardInterrupt

    class Ending(mmf.Callback):
        metrics: Any = "none"

        def end(self, metrics: Any) -> None:
            self.metrics = metrics

    ending = Ending()
    quick = {"run": {"device": "cpu", "robustness": False, "references": False}, "train.resamples": 0}
    options = {"out": tmp_path / "run", "verbose": False}
    with pytest.raises(Interrupted, match=r"after epoch 1, saved .* continue with: mmf\.fit\(resume='"):
        mmf.fit("tiny", "tiny", epochs=2, settings=quick, callbacks=[stop, ending], **options)
    assert ending.metrics is None
    run = mmf.fit(resume=tmp_path / "run", callbacks=[stop, ending], verbose=False)
    assert epochs == [1, 2]
    assert ending.metrics == run.metrics
