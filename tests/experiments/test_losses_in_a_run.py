"""Losses chosen in the settings of a run, from the command's options to the checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mmfusion.experiments import run, settings
from mmfusion.experiments.settings import merge, parse_override
from mmfusion.training import checkpoints
from mmfusion.training.result_files import read_json


def started(out: Path, *overrides: str, model: str = "cfcml") -> Any:
    base = {
        "run": {"out": str(out), "device": "cpu"},
        "train": {"epochs": 2, "batch_size": 16, "resamples": 20},
        "data": {"n_train": 48, "n_validation": 32, "n_test": 32, "size": 32},
    }
    if model == "cfcml":
        base["model"] = {"dim": 16, "image_latents": 4, "table_latents": 4, "hidden": [16]}
    for text in overrides:
        base = merge(base, parse_override(text))
    return run.start(settings.resolve(model, "synthetic_derm7pt", [base]))


@pytest.mark.slow
def test_loss_settings_reach_checkpoint(tmp_path: Path) -> None:
    result = started(
        tmp_path / "run",
        "model.terms.nce.term=info_nce",
        "model.terms.nce.weight=0.1",
        "model.terms.supcon.term=metric",
        "model.terms.supcon.loss=SupConLoss",
        "model.terms.supcon.on=derm",
        "model.terms.supcon.weight=0.2",
        "model.classification=logit_adjusted",
        "model.prototypes=moving",
        "model.weighting=gradnorm",
        "model.learn_temperature=true",
    )
    losses = [entry["losses"] for entry in read_json(result.folder / "history.json")]
    assert list(losses[0]) == ["label", "sample", "unimodal", "crossmodal", "nce", "supcon"]
    shipped, _ = checkpoints.load(result.folder / checkpoints.BEST)
    assert not any(name.startswith(("loss.", "objective.")) for name in shipped)
    weights, _ = checkpoints.load(result.folder / checkpoints.LAST)
    assert int(weights["loss.classification.label.counts"].sum()) == 48
    assert bool(weights["loss.bank.prototypes.seen"].all())
    moved = weights["loss.bank.weighting.current"]
    assert not torch.allclose(moved, torch.tensor([0.04, 0.06, 0.18, 0.1, 0.2]))
    assert moved.sum().item() == pytest.approx(0.58, rel=1e-5)


@pytest.mark.slow
def test_resumed_run_with_memories_matches_uninterrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("model.prototypes=memory", "model.weighting=uncertainty", "model.learn_temperature=true")
    whole = started(tmp_path / "whole", *options)
    from mmfusion.training.loop import Training

    epoch = Training._epoch

    def stop(self: Training, index: int, phase: Any, number: int, **kw: Any) -> None:
        if number == 1:
            raise KeyboardInterrupt
        epoch(self, index, phase, number, **kw)

    monkeypatch.setattr(Training, "_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        started(tmp_path / "broken", *options)
    monkeypatch.setattr(Training, "_epoch", epoch)
    run.resume(tmp_path / "broken")
    for name in ("predictions.csv",):
        assert (tmp_path / "broken" / name).read_bytes() == (whole.folder / name).read_bytes()
