"""``train.modality_dropout``: in training alone, by the seed, and not at all when it is off."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mmfusion.experiments import folder, run, settings
from mmfusion.models import FusionModel
from mmfusion.training import checkpoints, loop
from mmfusion.training.reporter import Silent

Start = Callable[..., Path]


@pytest.fixture
def begin(tmp_path: Path) -> Start:
    def begun(name: str, dropout: float | None, model: str = "concat", **options: Any) -> Path:
        base: dict[str, Any] = {
            "run": {"out": str(tmp_path / name), "device": "cpu"},
            "train": {"epochs": 2, "batch_size": 16, "resamples": 20, "augment": {"flips": True}},
            "data": {"n_train": 32, "n_validation": 16, "n_test": 16, "size": 32},
            "model": {"dim": 8},
        }
        if dropout is not None:
            base["train"]["modality_dropout"] = dropout
        return run.start(settings.resolve(model, "synthetic_derm7pt", [base]), **options).folder

    return begun


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, torch.Tensor | None]]:
    """Of every call of a model: whether it was training, and ``(m, b)`` presence; None: everything there."""
    calls: list[tuple[bool, torch.Tensor | None]] = []
    forward = FusionModel.forward

    def noted(self: FusionModel, inputs: Any, present: Any = None) -> Any:
        everyone = torch.ones(len(next(iter(inputs.values()))[0]), dtype=torch.bool)
        rows = None if present is None else torch.stack([present.get(name, everyone) for name in self.names])
        calls.append((self.training, rows))
        return forward(self, inputs, present)

    monkeypatch.setattr(FusionModel, "forward", noted)
    return calls


@pytest.mark.slow
def test_modality_dropout_only_in_training(begin: Start, seen: list[tuple[bool, torch.Tensor | None]]) -> None:
    begin("run", 0.5)
    trained = [rows for training, rows in seen if training]
    assert len(trained) == 4
    assert all(rows is not None for rows in trained)
    together = torch.cat([rows for rows in trained if rows is not None], 1)
    assert together.shape == (3, 64)
    assert 0.3 < 1 - together.float().mean().item() < 0.6
    assert bool(together.any(0).all())
    assert not torch.equal(trained[0], trained[1])
    assert all(rows is None for training, rows in seen if not training)


@pytest.mark.slow
def test_at_least_one_modality_of_the_model_stays(begin: Start, seen: list[tuple[bool, torch.Tensor | None]]) -> None:
    begin("run", 0.9, model="image")
    rows = torch.cat([rows for training, rows in seen if training and rows is not None], 1)
    assert len(rows) == 2
    assert bool(rows.any(0).all())


@pytest.mark.slow
def test_modality_dropout_off_draws_nothing(begin: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """No random number is drawn, and settings files without the option are still read."""
    monkeypatch.setattr(loop, "drop_modalities", lambda *_, **__: pytest.fail("called"))
    one, other = begin("one", None), begin("other", 0.0)
    assert (one / checkpoints.BEST).read_bytes() == (other / checkpoints.BEST).read_bytes()
    packed = folder.read_settings(one).to_dict()
    del packed["train"]["modality_dropout"]
    assert settings.Settings.from_dict(packed).train.modality_dropout == 0


class Stop(Silent):
    """Presses Ctrl-C after the first epoch."""

    def say(self, text: str) -> None:
        if text.startswith("epoch 1"):
            raise KeyboardInterrupt


@pytest.mark.slow
def test_resumed_run_drops_the_same(begin: Start, tmp_path: Path) -> None:
    whole = begin("whole", 0.4)
    with pytest.raises(run.Interrupted):
        begin("cut", 0.4, reporter=Stop())
    run.resume(tmp_path / "cut")
    assert (tmp_path / "cut" / folder.PREDICTIONS).read_bytes() == (whole / folder.PREDICTIONS).read_bytes()
