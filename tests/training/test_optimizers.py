import math

import pytest
import torch
from torch import nn

from mmfusion.models.phases import ParameterGroup
from mmfusion.training import optimizers
from mmfusion.training.settings import Train


def groups(encoder: nn.Module, rest: nn.Module) -> list[ParameterGroup]:
    return [
        ParameterGroup("encoder", tuple(encoder.parameters())),
        ParameterGroup("fusion", tuple(rest.parameters())),
    ]


def test_parameter_groups_have_rate_and_decay() -> None:
    encoder, rest = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    train = Train(lr=1.0, encoder_lr_scale=0.1, weight_decay=0.5, optimizer="adamw")
    optimizer = optimizers.build(groups(encoder, rest), train)
    assert isinstance(optimizer, torch.optim.AdamW)
    of = {id(p): (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(of) == 6
    assert of[id(encoder.weight)] == (0.1, 0.5)
    assert of[id(encoder.bias)] == (0.1, 0.0)
    assert of[id(rest[0].weight)] == (1.0, 0.5)
    assert of[id(rest[1].weight)] == (1.0, 0.0)


def test_adam_decays_all_parameters() -> None:
    layer = nn.Linear(2, 3)
    optimizer = optimizers.build(groups(layer, nn.Identity()), Train(weight_decay=0.5, optimizer="adam"))
    assert type(optimizer) is torch.optim.Adam
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5]
    assert len(optimizer.param_groups[0]["params"]) == 2


def test_invalid_parameter_groups_raise() -> None:
    layer = nn.Linear(2, 3)
    with pytest.raises(ValueError, match="'fusion' are listed twice"):
        optimizers.build(groups(layer, layer), Train())
    with pytest.raises(ValueError, match="no parameter to train"):
        optimizers.build(groups(nn.Identity(), layer.requires_grad_(False)), Train())


def factors(train: Train, epochs: int, steps: int) -> list[float]:
    return [optimizers.factor(step, epochs * steps, steps, train) for step in range(epochs * steps)]


def test_cosine_schedule() -> None:
    found = factors(Train(schedule="cosine"), 2, 2)
    assert found == pytest.approx([1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 + math.cos(3 * math.pi / 4)) / 2])


def test_step_schedule_matches_published() -> None:
    found = factors(Train(schedule="step", step_epochs=5, gamma=0.8, warmup_epochs=5), 20, 2)
    assert found[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert found[10:20] == [1.0] * 10
    assert found[20:30] == pytest.approx([0.8] * 10)
    assert found[30:] == pytest.approx([0.64] * 10)


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 0.5, 2.0, 9.0])
def test_learning_rate_is_never_zero(schedule: str, warmup: float) -> None:
    found = factors(Train(schedule=schedule, warmup_epochs=warmup), 4, 7)
    assert all(0 < value <= 1 for value in found)


def test_fractional_warmup_epochs() -> None:
    assert factors(Train(schedule="constant", warmup_epochs=0.5), 1, 4) == [0.5, 1.0, 1.0, 1.0]
    # Half a step of warm-up is none.
    assert factors(Train(schedule="constant", warmup_epochs=0.5), 1, 1) == [1.0]


def test_set_lr_scales_each_group() -> None:
    encoder, rest = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    optimizer = optimizers.build(groups(encoder, rest), Train(lr=1.0, encoder_lr_scale=0.1))
    for _ in range(2):
        optimizers.set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.5])


def test_parameters_are_counted() -> None:
    layer = nn.Linear(2, 3)
    layer.bias.requires_grad_(False)
    assert optimizers.n_parameters(layer) == {"total": 9, "trainable": 6}


def test_warmup_by_epoch_matches_published() -> None:
    """Zero in the first epoch, a fifth more in each of the next five, and the schedule from the seventh on."""
    train = Train(schedule="step", step_epochs=5, gamma=0.8, warmup_epochs=5, warmup_by="epoch")
    by_epoch = [0, 0.2, 0.4, 0.6, 0.8, 1, *[1] * 5, *[0.8] * 5, *[0.64] * 2]
    assert factors(train, 18, 3) == pytest.approx([share for share in by_epoch for _ in range(3)])
    assert factors(Train(schedule="constant", warmup_by="epoch"), 2, 2) == [1, 1, 1, 1]
    found = factors(Train(schedule="constant", warmup_epochs=1.5, warmup_by="epoch"), 3, 1)
    assert found == pytest.approx([0, 1 / 1.5, 1])
