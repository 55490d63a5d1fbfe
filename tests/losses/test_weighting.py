import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mmfusion.losses import (
    Batch,
    CrossmodalAnchorLoss,
    GradNormWeighting,
    Loss,
    LossBank,
    SampleAnchorLoss,
    Schedule,
    UncertaintyWeighting,
    UnimodalAnchorLoss,
)

LABELS = torch.arange(4) % 2


class Squares(Loss):
    """``scale * sum of squares`` of the first embeddings: a gradient of known length."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def compute(self, batch: Batch) -> Tensor:
        return self.scale * next(iter(batch.embeddings.values())).square().sum()


def embeddings(value: float = 1.0) -> dict[str, Tensor]:
    return {"a": torch.full((4, 1), value, requires_grad=True)}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0]),
        ("cosine", [1.0, 1.0, 1.0, 2 - math.sqrt(0.5), 2.0, 2 + math.sqrt(0.5), 3.0, 3.0]),
    ],
)
def test_schedule_values_by_shape(shape: str, expected: list[float]) -> None:
    schedule = Schedule(start=1.0, end=3.0, steps=4, delay=2, shape=shape)
    assert [schedule().item() for _ in range(8)] == pytest.approx(expected, rel=1e-6)


def test_schedule_steps_only_in_training_and_is_saved() -> None:
    schedule = Schedule(start=0.0, end=1.0, steps=2)
    schedule()
    schedule.eval()
    assert [schedule().item(), schedule().item()] == [0.5, 0.5]
    other = Schedule(start=0.0, end=1.0, steps=2)
    other.load_state_dict(schedule.state_dict())
    assert [other().item(), other().item()] == [0.5, 1.0]


def test_schedule_in_bank() -> None:
    bank = LossBank(2, {"moves": (Schedule(start=0.0, end=2.0, steps=1), Squares(1.0)), "stays": (3.0, Squares(1.0))})
    for weight in (0.0, 2.0, 2.0):
        values = bank(embeddings(), LABELS)
        assert {name: value.item() for name, value in values.items()} == {"moves": 4 * weight, "stays": 12.0}
    assert bank.unweighted()["moves"].item() == 4.0


def test_uncertainty_starts_at_given_weights() -> None:
    weighting = UncertaintyWeighting(regressions=["second"])
    bank = LossBank(2, {"first": (0.2, Squares(1.0)), "second": (3.0, Squares(2.0))}, weighting=weighting)
    assert {name: w.item() for name, w in weighting.weights().items()} == pytest.approx({"first": 0.2, "second": 3.0})
    values = bank(embeddings(), LABELS)
    # exp(-s) L + s / 2 with exp(-s) = w; for the regression exp(-s) / 2 = w
    assert values["first"].item() == pytest.approx(0.2 * 4 - math.log(0.2) / 2)
    assert values["second"].item() == pytest.approx(3.0 * 8 - math.log(6.0) / 2)


@pytest.mark.slow
def test_uncertainty_converges_to_inverse_variance() -> None:
    """At the minimum over s of ``exp(-s) L + s / 2`` the weight is ``1 / (2 L)``, and for a regression, too."""
    weighting = UncertaintyWeighting(regressions=["second"])
    bank = LossBank(2, {"first": (1.0, Squares(1.0)), "second": (1.0, Squares(0.1))}, weighting=weighting)
    optimizer = torch.optim.SGD(bank.parameters(), lr=0.3)
    for _ in range(400):
        optimizer.zero_grad()
        sum(bank(embeddings(), LABELS).values()).backward()
        optimizer.step()
    found = {name: weight.item() for name, weight in weighting.weights().items()}
    assert found == pytest.approx({"first": 1 / 8, "second": 1 / 0.8}, rel=1e-3)


def test_weight_zero_is_excluded_from_weighting() -> None:
    bank = LossBank(2, {"on": (1.0, Squares(1.0)), "off": (0.0, Squares(1.0))}, weighting=UncertaintyWeighting())
    assert list(bank(embeddings(), LABELS)) == ["on"]


def test_gradnorm_by_hand() -> None:
    """Two losses at their first step: equal rates, gradients of length 4 and 12 (2 scale sqrt(4))."""
    weighting = GradNormWeighting(alpha=1.0, lr=0.1)
    bank = LossBank(2, {"small": (1.0, Squares(1.0)), "large": (1.0, Squares(3.0))}, weighting=weighting)
    values = bank(embeddings(), LABELS)
    assert {name: value.item() for name, value in values.items()} == {"small": 4.0, "large": 12.0}
    # Over their mean the lengths are 0.5 and 1.5, their weighted mean 1: small rises by 0.1 * 0.5, large falls by 0.15.
    moved = [1.05, 0.85]
    expected = [2 * w / sum(moved) for w in moved]
    assert [w.item() for w in weighting.weights().values()] == pytest.approx(expected)


@pytest.mark.slow
def test_gradnorm_equalizes_gradients() -> None:
    weighting = GradNormWeighting(alpha=1.0, lr=0.02)
    bank = LossBank(2, {"small": (1.0, Squares(1.0)), "large": (1.0, Squares(3.0))}, weighting=weighting)
    for _ in range(200):
        bank(embeddings(), LABELS)
    found = weighting.weights()
    assert (found["small"] / found["large"]).item() == pytest.approx(3.0, rel=0.1)
    assert sum(w.item() for w in found.values()) == pytest.approx(2.0)


def test_gradnorm_raises_weight_of_slow_loss() -> None:
    """Equal gradients; one loss has halved since the first step, the other has not moved."""

    class Fixed(Loss):
        def __init__(self) -> None:
            super().__init__()
            self.value = 1.0

        def compute(self, batch: Batch) -> Tensor:
            x = batch.embeddings["a"].sum()
            return x - x.detach() + self.value

    fast, slow = Fixed(), Fixed()
    weighting = GradNormWeighting(alpha=1.0, lr=0.1)
    bank = LossBank(2, {"fast": (1.0, fast), "slow": (1.0, slow)}, weighting=weighting)
    bank(embeddings(), LABELS)
    fast.value = 0.5
    bank(embeddings(), LABELS)
    assert weighting.weights()["slow"] > weighting.weights()["fast"]


def test_gradnorm_updates_only_in_training() -> None:
    weighting = GradNormWeighting()
    bank = LossBank(2, {"small": (1.0, Squares(1.0)), "large": (1.0, Squares(3.0))}, weighting=weighting)
    with torch.no_grad():
        bank(embeddings(), LABELS)
    bank({"a": torch.ones(4, 1)}, LABELS)
    bank.eval()(embeddings(), LABELS)
    assert [w.item() for w in weighting.weights().values()] == [1.0, 1.0]


@pytest.mark.parametrize("value", [0.0, float("inf"), float("nan")])
def test_gradnorm_ignores_batch_with_nonfinite_gradient(value: float) -> None:
    weighting = GradNormWeighting()
    bank = LossBank(2, {"small": (1.0, Squares(1.0)), "large": (1.0, Squares(3.0))}, weighting=weighting)
    bank(embeddings(value), LABELS)
    assert [w.item() for w in weighting.weights().values()] == [1.0, 1.0]
    bank(embeddings(), LABELS)
    assert weighting.weights()["small"] > 1


@pytest.mark.parametrize("weighting", [UncertaintyWeighting, GradNormWeighting])
def test_backward_and_state_dict_round_trip(weighting: Any) -> None:
    def build() -> LossBank:
        terms = {"s": (0.5, SampleAnchorLoss()), "u": (1.0, UnimodalAnchorLoss()), "c": (2.0, CrossmodalAnchorLoss())}
        return LossBank(2, terms, weighting=weighting())

    bank, other = build(), build()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 3, generator=g, requires_grad=True)
    sum(bank(x, LABELS).values()).backward()
    assert bool(x.grad.any())
    for parameter in bank.parameters():
        parameter.data -= 0.1 * parameter.grad
    other.load_state_dict(bank.state_dict())
    expected, found = bank.eval()(x, LABELS), other.eval()(x, LABELS)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert all(value != 0.5 for value in other.weighting.weights().values())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Schedule(start=-1.0, end=1.0, steps=1), "Schedule: start expects float from 0 to 1000000, got -1.0"),
        (lambda: Schedule(start=0.0, end=float("inf"), steps=1), "Schedule: end expects float from 0"),
        (lambda: Schedule(start=0.0, end=1.0, steps=0), "steps expects int from 1 to 1000000000, got 0"),
        (lambda: Schedule(start=0.0, end=1.0, steps=1, delay=-1), "delay expects int from 0 to 1000000000, got -1"),
        (
            lambda: Schedule(start=0.0, end=1.0, steps=1, shape="step"),
            "shape expects one of linear, cosine, got 'step'",
        ),
        (lambda: GradNormWeighting(alpha=-1.0), "GradNormWeighting: alpha expects float from 0 to 1000000, got -1.0"),
        (
            lambda: LossBank(2, {"a": (1.0, Squares(1.0))}, weighting=UncertaintyWeighting(regressions=["b"])),
            r"regressions names \['b'\], the terms are \['a'\]",
        ),
        (
            lambda: LossBank(
                2, {"a": (Schedule(start=0, end=1, steps=1), Squares(1.0))}, weighting=GradNormWeighting()
            ),
            r"sets all weights: give \['a'\] a number",
        ),
    ],
)
def test_invalid_options_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
