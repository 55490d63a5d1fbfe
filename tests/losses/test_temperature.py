import math
from typing import Any

import pytest
import torch

from mmfusion.losses import HierarchicalAnchorLoss, SampleAnchorLoss, Temperature

X, LABELS = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


def test_fixed_temperature_has_no_parameters() -> None:
    temperature = Temperature(0.2)
    assert temperature() == 0.2
    assert list(temperature.parameters()) == []
    assert temperature.state_dict() == {}


def test_learned_temperature_starts_at_given_value() -> None:
    temperature = Temperature(0.2, learned=True)
    value = temperature()
    value.backward()
    assert value.item() == pytest.approx(0.2, rel=1e-6)
    # d(minimum + exp(theta)) / d theta = exp(theta)
    assert temperature.theta.grad.item() == pytest.approx(0.19, rel=1e-6)


@pytest.mark.parametrize("theta", [-1e4, -30.0, 30.0])
def test_learned_temperature_stays_above_minimum(theta: float) -> None:
    temperature = Temperature(0.2, learned=True, minimum=0.01)
    temperature.theta.data.fill_(theta)
    assert temperature().item() >= 0.01 * (1 - 1e-6)


def test_half_precision_temperature_is_float32() -> None:
    assert Temperature(0.07, learned=True).half()().dtype == torch.float32


def test_learned_temperature_gets_gradient() -> None:
    """Its gradient is that of the loss by the temperature, and descent lowers the loss."""
    term = SampleAnchorLoss(n_classes=3, temperature=0.5, learn_temperature=True).double()
    x = X.double()
    loss = term(x, LABELS)
    loss.backward()
    step = 1e-6
    values = [SampleAnchorLoss(n_classes=3, temperature=0.5 + s)(x, LABELS).item() for s in (step, -step)]
    by_temperature = (values[0] - values[1]) / (2 * step)
    assert term.temperature.theta.grad.item() == pytest.approx(by_temperature * math.exp(math.log(0.49)), rel=1e-5)
    with torch.no_grad():
        term.temperature.theta -= 0.1 * term.temperature.theta.grad
    assert term(x, LABELS) < loss


def test_hierarchical_levels_share_one_temperature() -> None:
    term = HierarchicalAnchorLoss(n_classes=3, learn_temperature=True)
    assert [name for name, _ in term.named_parameters()] == ["temperature.theta"]
    term(X, LABELS).backward()
    assert term.temperature.theta.grad.item() != 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Temperature(0.0), "temperature expects float from 0.0001 to 10000, got 0.0"),
        (lambda: Temperature(float("nan")), "temperature expects float from 0.0001 to 10000, got nan"),
        (lambda: Temperature(float("inf")), "temperature expects float from 0.0001 to 10000, got inf"),
        (lambda: Temperature(0.01, learned=True), "must start above its minimum of 0.01, got 0.01"),
        (lambda: SampleAnchorLoss(temperature=-1.0), "temperature expects float from 0.0001 to 10000, got -1.0"),
    ],
)
def test_invalid_options_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
