import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers.anchor_reference import direction, term
from mmfusion.losses import contrast, unit
from mmfusion.losses.functional import masked_logsumexp, negative_log_share


def random_masks(a: int, c: int, seed: int) -> tuple[Tensor, Tensor]:
    """Positive, negative or neither."""
    kind = torch.randint(0, 3, (a, c), generator=torch.Generator().manual_seed(seed))
    return kind == 0, kind == 1


@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-8, 1e-3]), st.sampled_from([0.05, 0.5]))
def test_contrast_matches_reference(seed: int, eps: float, tau: float) -> None:
    g = torch.Generator().manual_seed(seed)
    anchors = torch.randn(4, 3, generator=g, dtype=torch.float64, requires_grad=True)
    candidates = torch.randn(6, 3, generator=g, dtype=torch.float64, requires_grad=True)
    positive, negative = random_masks(4, 6, seed)
    loss = contrast(anchors, candidates, positive, negative, tau, eps=eps)
    expected = torch.stack(
        [
            term(
                direction(anchors[i]),
                [direction(candidates[j]) for j in range(6) if positive[i, j]],
                [direction(candidates[j]) for j in range(6) if negative[i, j]],
                tau,
                eps,
            )
            for i in range(4)
        ]
    )
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-13)
    if expected.requires_grad:
        grads = torch.autograd.grad(expected.sum(), (anchors, candidates))
        torch.testing.assert_close(torch.autograd.grad(loss.sum(), (anchors, candidates)), grads, rtol=1e-9, atol=1e-11)


def test_contrast_by_hand() -> None:
    anchors = torch.tensor([[2.0, 0.0]])
    candidates = torch.tensor([[1.0, 0.0], [0.0, 5.0], [-3.0, 0.0], [1.0, 1.0]])
    positive = torch.tensor([[True, False, False, False]])
    negative = torch.tensor([[False, True, True, False]])  # the last is neither
    expected = -math.log(math.e / (math.e + 1 + 1 / math.e))
    assert contrast(anchors, candidates, positive, negative, 1.0).item() == pytest.approx(expected, rel=1e-6)


def test_contrast_of_batch_matches_each_set() -> None:
    anchors, candidates = torch.randn(5, 2, 3), torch.randn(5, 4, 3)
    positive, negative = random_masks(2, 4, 1)
    together = contrast(anchors, candidates, positive, negative, 0.1)
    alone = [contrast(anchors[i], candidates[i], positive, negative, 0.1) for i in range(5)]
    torch.testing.assert_close(together, torch.stack(alone))


@pytest.mark.parametrize(("positive", "negative"), [(False, True), (True, False), (False, False)])
def test_contrast_without_positives_or_negatives_is_zero(positive: bool, negative: bool) -> None:
    anchors = torch.randn(1, 3, requires_grad=True)
    masks = (torch.full((1, 2), side) for side in (positive, negative))
    loss = contrast(anchors, torch.randn(2, 3), *masks, 0.07)
    loss.sum().backward()
    assert loss.tolist() == [0.0]
    assert torch.equal(anchors.grad, torch.zeros(1, 3))


def test_contrast_without_candidates_is_zero() -> None:
    anchors, none = torch.randn(2, 3, requires_grad=True), torch.zeros(2, 0, dtype=torch.bool)
    loss = contrast(anchors, torch.zeros(0, 3), none, none, 0.07)
    loss.sum().backward()
    assert loss.tolist() == [0.0, 0.0]
    assert torch.equal(anchors.grad, torch.zeros(2, 3))


def test_contrast_in_autocast_computes_in_float32() -> None:
    anchors, candidates = torch.randn(3, 64), torch.randn(5, 64)
    masks = random_masks(3, 5, 0)
    expected = contrast(anchors, candidates, *masks, 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrast(anchors, candidates, *masks, 0.07), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_contrast_of_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    anchors, candidates = torch.randn(3, 8).to(dtype), torch.randn(5, 8).to(dtype)
    masks = random_masks(3, 5, 0)
    loss = contrast(anchors, candidates, *masks, 0.07)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, contrast(anchors.float(), candidates.float(), *masks, 0.07))


BOOL = torch.ones(2, 3, dtype=torch.bool)
RIGHT: dict[str, Any] = {
    "anchors": torch.ones(2, 4),
    "candidates": torch.ones(3, 4),
    "positive": BOOL,
    "negative": ~BOOL,
    "temperature": 0.1,
}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": 0.0}, "temperature must be positive, got 0.0"),
        ({"temperature": -1.0}, "temperature must be positive, got -1.0"),
        ({"temperature": float("nan")}, "temperature must be positive, got nan"),
        ({"anchors": torch.ones(2, 5)}, r"of one width, got \(2, 5\) and \(3, 4\)"),
        ({"positive": BOOL.T}, r"positive must be bool of shape \(..., 2, 3\), got torch.bool \(3, 2\)"),
        ({"negative": BOOL.float()}, r"negative must be bool of shape .*got torch.float32"),
    ],
)
def test_contrast_invalid_inputs_raise(wrong: dict[str, Any], message: str) -> None:
    assert contrast(**RIGHT).shape == (2,)
    with pytest.raises(ValueError, match=message):
        contrast(**RIGHT | wrong)


@pytest.mark.parametrize("scale", [1e-37, 1e-20, 1e-8, 1.0, 1e20, 1e37])
def test_unit_at_any_scale(scale: float) -> None:
    x = (torch.tensor([[3.0, -4.0]], dtype=torch.float64) * scale).float().requires_grad_()
    torch.testing.assert_close(unit(x), torch.tensor([[0.6, -0.8]]))
    unit(x)[0, 0].backward()
    # d(x0 / |x|) = ((1 - 0.36), 0.48) / |x|
    torch.testing.assert_close((x.grad.double() * 5 * scale), torch.tensor([[0.64, 0.48]]).double(), rtol=1e-5, atol=0)


def test_unit_of_zero_vector_has_zero_value_and_gradient() -> None:
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0]], requires_grad=True)
    (unit(x) * torch.tensor([3.0, 5.0])).sum().backward()
    assert torch.equal(unit(x)[0], torch.zeros(2))
    assert torch.equal(x.grad[0], torch.zeros(2))
    assert bool(x.grad[1].any())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_unit_propagates_nan(value: float) -> None:
    assert bool(unit(torch.tensor([[value, 1.0]])).isnan().any())


def test_masked_logsumexp_ignores_masked_entries() -> None:
    x = torch.tensor([[1.0, float("nan"), 2.0], [5.0, 6.0, 7.0]])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    value, nothing = masked_logsumexp(x, mask).tolist()
    assert value == pytest.approx(math.log(math.e + math.e**2))
    assert -math.inf < nothing < -1e30


def test_masked_logsumexp_of_empty_mask_has_zero_gradient() -> None:
    x = torch.tensor([5.0, float("nan")], requires_grad=True)
    masked_logsumexp(x, torch.zeros(2, dtype=torch.bool)).backward()
    assert x.grad.tolist() == [0.0, 0.0]


def test_negative_log_share_is_precise_in_float32() -> None:
    """Where the share is nearly 1, ``1 - share`` would be rounding noise in float32."""
    positive, negative = torch.tensor([20.0]), torch.tensor([0.0])
    assert negative_log_share(positive, negative).item() == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)


def test_eps_caps_the_loss_and_its_gradient() -> None:
    """What the published eps does and the exact share does not."""
    positive, negative = torch.zeros(1, requires_grad=True), torch.full((1,), 60.0)
    capped = negative_log_share(positive, negative, 1e-8)
    exact = negative_log_share(positive, negative)
    assert capped.item() == pytest.approx(-math.log(1e-8))
    assert exact.item() == pytest.approx(60.0)
    assert abs(torch.autograd.grad(capped.sum(), positive)[0].item()) < 1e-15
    assert torch.autograd.grad(exact.sum(), positive)[0].item() == pytest.approx(-1.0)


@given(st.floats(-15, 15))
def test_eps_gap_matches_closed_form(difference: float) -> None:
    """``exact - with_eps = log(1 + eps / share)``."""
    positive, negative = torch.zeros(1, dtype=torch.float64), torch.tensor([difference], dtype=torch.float64)
    exact = negative_log_share(positive, negative)
    gap = exact - negative_log_share(positive, negative, 1e-8)
    assert gap.item() == pytest.approx(math.log1p(1e-8 * math.exp(exact.item())), rel=1e-6, abs=1e-14)
