from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from mmfusion.experiments import diverged_run, folder, run
from mmfusion.training import checkpoints, divergence
from mmfusion.training.loop import Training
from mmfusion.training.loss_log import LossLog, NonFiniteLoss
from mmfusion.training.result_files import read_json
from mmfusion.training.settings import Train

Start = Callable[..., Path]


def log_of(losses: list[float]) -> LossLog:
    log = LossLog("phase 'train', epoch 2 of 5", "start anew with less")
    for number, loss in enumerate(losses):
        log.add({"ce": torch.tensor(loss)}, 0.1 * (number + 1), lambda: None)
    return log


def test_nonfinite_loss_raises_with_step_and_rate() -> None:
    assert log_of([1.0, 3.0]).close() == {"ce": 2.0}
    for bad in (float("nan"), float("inf"), float("-inf")):
        for at in range(3):
            losses = [1.0, 1.0, 1.0]
            losses[at] = bad
            with pytest.raises(NonFiniteLoss) as caught:
                log_of(losses).close()
            text = str(caught.value)
            assert "phase 'train', epoch 2 of 5: the loss is not finite" in text
            assert f"in step {at + 1} of the epoch" in text
            assert f"at learning rate {0.1 * (at + 1):.3g}; start anew with less" in text


def test_error_after_nonfinite_loss_raises_nonfinite_loss() -> None:
    log = log_of([1.0, float("nan")])
    with pytest.raises(NonFiniteLoss, match="step 2 of the epoch"), log.explaining():
        raise RuntimeError("linalg.svd: the input has NaN")
    log = log_of([1.0, 2.0])
    with pytest.raises(ValueError, match="something else"), log.explaining():
        raise ValueError("something else")


def test_advice_names_settings() -> None:
    text = divergence.advice(Train(lr=0.5, clip_norm=2.0), "bf16")
    assert "a lower train.lr (it is 0.5)" in text
    assert "a lower train.clip_norm (it is 2)" in text
    assert "run.precision=no" in text
    text = divergence.advice(Train(clip_norm=None, warmup_epochs=1), "no")
    assert "train.clip_norm=1" in text
    assert "precision" not in text
    assert "warmup" not in text


@pytest.mark.slow
def test_diverged_run_is_not_resumed(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four steps per epoch; the objective explodes in the third of the second."""
    overrides = {"model": {"explode_after": 6}}
    with pytest.raises(NonFiniteLoss, match=r"epoch 2 of 3: the loss is not finite in step 3 of the epoch .*rate 0\.0"):
        start(overrides=overrides)
    out = tmp_path / "run"
    record = read_json(out / folder.DIVERGED)
    assert record["device"] == "cpu"
    real = Training._epoch
    monkeypatch.setattr(Training, "_epoch", lambda *_, **__: pytest.fail("trained again"))
    with pytest.raises(NonFiniteLoss, match=r"is not resumed.*step 3 of the epoch.*train\.lr.*overwrite=True") as stop:
        run.resume(out)
    assert record["reason"] in str(stop.value)
    monkeypatch.setattr(Training, "_epoch", real)
    # What another device does is not known.
    diverged_run.check(out, torch.device("cuda"))
    (out / folder.DIVERGED).unlink()
    with pytest.raises(NonFiniteLoss, match="step 3 of the epoch"):
        run.resume(out)
    assert (out / folder.DIVERGED).exists()
    start(overrides={"train": {"epochs": 1}}, overwrite=True)
    assert {path.name for path in out.iterdir()} == set(folder.FILES)


@pytest.mark.slow
@pytest.mark.parametrize("pretrain", [False, True])
def test_nonfinite_weights_after_last_step_raise(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pretrain: bool
) -> None:
    """All losses of the epoch are finite; the weights are checked before anything is written."""
    real = Training._step
    steps = 0

    def step(self: Training, *arguments: Any, **options: Any) -> None:
        nonlocal steps
        real(self, *arguments, **options)
        steps += 1
        if steps == 8:
            self._trained[0].data.view(-1)[0] = torch.inf

    monkeypatch.setattr(Training, "_step", step)
    with pytest.raises(
        NonFiniteLoss, match=r"epoch 2 of .*: weights are not finite after step 4 of the epoch, at learning"
    ):
        start(overrides={"model": {"pretrain": pretrain}})
    out = tmp_path / "run"
    tensors, about = checkpoints.load(out / checkpoints.LAST)
    assert about["progress"]["epoch"] == 1
    assert all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())


@pytest.mark.slow
def test_nonfinite_validation_outputs_raise(start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fakes.Tiny.forward

    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        output = real(self, *arguments, **options)
        if not self.training:
            output.outputs["dx"][:3] = torch.nan
        return output

    monkeypatch.setattr(fakes.Tiny, "forward", forward)
    with pytest.raises(
        NonFiniteLoss, match="epoch 1 of 3: the outputs for 3 of 64 validation cases are not finite after"
    ):
        start()
