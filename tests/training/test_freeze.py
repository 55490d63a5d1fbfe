"""Frozen, fine-tuned, partly: what the settings of a run do to the encoders."""

from pathlib import Path
from typing import Any

import pytest
import torch

import mmfusion as mmf
from helpers.small import make_spec
from mmfusion.experiments import run, settings
from mmfusion.training import checkpoints, optimizers
from mmfusion.training.phases import phases_of
from mmfusion.training.settings import Train

SPEC = make_spec()


def weights_of(out: Path, **train: Any) -> dict[str, torch.Tensor]:
    base = {
        "run": {"out": str(out), "device": "cpu"},
        "train": {"epochs": 1, "batch_size": 16, "resamples": 20} | train,
        "data": {"n_train": 32, "n_validation": 32, "n_test": 32, "size": 32},
        "model": {"dim": 16, "image_latents": 4, "table_latents": 4, "hidden": [16], "n_stages": 3},
    }
    result = run.start(settings.resolve("cfcml", "synthetic_derm7pt", [base]))
    return checkpoints.load(result.folder / checkpoints.BEST)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "freeze", [pytest.param(0, marks=pytest.mark.exhaustive), 2, pytest.param("all", marks=pytest.mark.exhaustive)]
)
def test_frozen_parameters_and_statistics_do_not_change(freeze: Any, tmp_path: Path) -> None:
    """Bit for bit; what is not frozen changes."""
    frozen = weights_of(tmp_path / "frozen", freeze=freeze)
    # The same start, of which nothing is left in the folder: a run whose encoder does not move at all.
    start = weights_of(tmp_path / "start", freeze="all")
    encoder = mmf.create_model("cfcml", make_spec(size=(32, 32), channels=3), n_stages=3).encoders.backbones["image0"]
    depths = encoder.parameter_depths()
    deepest = {"all": 3, 0: 0, 2: 2}[freeze]
    key = next(name for name in frozen if name.startswith("encoders.")).split(".")[2]
    for name, depth in depths.items():
        same = torch.equal(frozen[f"encoders.backbones.{key}.{name}"], start[f"encoders.backbones.{key}.{name}"])
        assert same == (depth <= deepest), name
    statistics = [name for name in frozen if name.endswith("running_mean")]
    moved = [name for name in statistics if not torch.equal(frozen[name], start[name])]
    assert bool(moved) == (freeze != "all")


@pytest.mark.slow
def test_layer_decay_rates() -> None:
    model = mmf.create_model("cfcml", SPEC)
    train = Train(lr=1.0, encoder_lr_scale=0.5, layer_decay=0.1)
    above = model.encoders.stages_above()
    optimizer = optimizers.build(phases_of(model)[0].parameters, train, above)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    encoder = model.encoders.backbones["image0"]
    for name, parameter in encoder.named_parameters():
        n = encoder.n_stages - encoder.parameter_depths()[name]
        assert rates[id(parameter)] == pytest.approx(0.5 * 0.1**n), name
    assert {rates[id(p)] for p in model.head.parameters()} == {1.0}
    assert set(above.values()) == {0, 1, 2, 3, 4}
    assert optimizers.set_lr(optimizer, 0.5) == pytest.approx(0.25)  # of the first group, the last stage
    assert {id(p) for p in model.parameters()} == set(rates)


@pytest.mark.slow
def test_optimizer_excludes_frozen_parameters() -> None:
    model = mmf.create_model("cfcml", SPEC)
    model.encoders.freeze(1)
    optimizer = optimizers.build(phases_of(model)[0].parameters, Train())
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    depths = model.encoders.backbones["image0"].parameter_depths()
    for name, parameter in model.encoders.backbones["image0"].named_parameters():
        assert (id(parameter) in given) == (depths[name] > 1)


@pytest.mark.slow
def test_checkpointing_does_not_change_numbers() -> None:
    from helpers.small import loss_inputs, make_inputs, make_labels

    results = []
    for enable in (False, True):
        torch.manual_seed(0)
        model = mmf.create_model("cfcml", SPEC, dropout=0.0)
        model.encoders.set_grad_checkpointing(enable)
        output = model(make_inputs(SPEC, 4))
        losses = mmf.create_loss(model)(loss_inputs(output, make_labels(SPEC, 4)))
        sum(losses.values()).backward()
        state = {name: buffer.clone() for name, buffer in model.named_buffers()}
        results.append((output.logits, {name: p.grad for name, p in model.named_parameters()}, state))
    (one, one_grads, one_state), (two, two_grads, two_state) = results
    assert torch.equal(one, two)
    for name, grad in one_grads.items():
        torch.testing.assert_close(two_grads[name], grad)
    assert all(torch.equal(two_state[name], value) for name, value in one_state.items())


@pytest.mark.slow
def test_unknown_stage_raises() -> None:
    with pytest.raises(ValueError, match=r"has 4 stages: freeze 0 \(the stem\) to 4 of them"):
        mmf.create_model("cfcml", SPEC).encoders.freeze(5)
