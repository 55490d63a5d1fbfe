"""The gradient of every registered loss where embeddings are sparse, tied, constant or zero.

ReLU features have such rows all the time: there clamps sit at their limits, maxima have ties, and norms are those of
zero vectors. The reference are one-sided differences in float64; what a loss holds constant is held constant there.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers.anchor_reference import losses as anchor_losses
from helpers.gradient_reference import ROWS, assert_between, one_sided, rows
from helpers.loss_choices import (
    CHOICES,
    METRIC_CHOICES,
    N_CLASSES,
    OF_LENGTHS,
    OF_LOGITS,
    WIDTH,
    create,
    inputs,
    over,
)
from mmfusion.losses import hsic, matching
from mmfusion.losses.density import DensityLoss
from mmfusion.losses.leakage import LeakageLoss

CASES, NAMES, PARTS = 4, ("a", "b"), {"a": 1, "b": 3}
kinds = st.lists(st.sampled_from(ROWS), min_size=2 * CASES, max_size=2 * CASES)
labels_of_cases = st.lists(st.integers(-1, N_CLASSES - 1), min_size=CASES, max_size=CASES)


def build(name: str, options: dict[str, Any]) -> nn.Module:
    return create(name, options | ({"parts": PARTS} if name in OF_LENGTHS else {}))


@contextmanager
def held(patch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """What a loss computes without a gradient stays what it was at first: the choice of negatives, the bandwidths.

    Yields:
        A list; clear it before each evaluation.
    """
    calls: list[bool] = []
    with patch.context() as patched:
        for module, name in ((matching, "hard_negatives"), (hsic, "_median")):
            real, kept = getattr(module, name), []

            def stand_in(*arguments: Any, real: Any = real, kept: list[Any] = kept, **more: Any) -> Any:
                if len(calls) == len(kept):
                    kept.append(real(*arguments, **more))
                calls.append(True)
                return kept[len(calls) - 1]

            patched.setattr(module, name, stand_in)
        yield calls


@pytest.mark.slow
@over(CHOICES + METRIC_CHOICES)
@given(kinds=kinds, labels=labels_of_cases, seed=st.integers(0, 10**6), missing=st.booleans())
@settings(max_examples=3, phases=(Phase.explicit, Phase.generate))
def test_gradient_matches_one_sided_differences(
    name: str, options: dict[str, Any], kinds: list[str], labels: list[int], seed: int, missing: bool
) -> None:
    x = rows(kinds, WIDTH, seed).view(2, CASES, WIDTH)
    logits = rows(kinds[:CASES], N_CLASSES, seed + 1)
    present = torch.rand(2, CASES, generator=torch.Generator().manual_seed(seed)) < (0.7 if missing else 1.1)
    term = build(name, options)
    with held(pytest.MonkeyPatch()) as calls:

        def value(x: Tensor, logits: Tensor) -> Tensor:
            calls.clear()
            found: Tensor = term(inputs(x, present, logits, labels, torch.Generator().manual_seed(seed)))
            return found

        leaves = x.clone().requires_grad_(), logits.clone().requires_grad_()
        of_x, of_logits = torch.autograd.grad(value(*leaves), leaves, allow_unused=True)
        if of_x is not None:
            # A direction jumps at zero, where its gradient is defined as zero.
            zero = (x == 0).all(-1, keepdim=True).expand_as(x)
            if options.get("normalize", True):
                assert not bool(of_x[zero].any())
            assert_between(of_x, one_sided(lambda moved: value(moved, logits), x), skip=zero)
        if of_logits is not None:
            assert_between(of_logits, one_sided(lambda moved: value(x, moved), logits))
    assert (of_x is None) == (name in OF_LOGITS)
    assert (of_logits is None) == (name not in OF_LOGITS)


@pytest.mark.slow
@pytest.mark.parametrize("term", [DensityLoss(parts=PARTS), LeakageLoss(parts=PARTS)], ids=["density", "leakage"])
@given(kinds=kinds, seed=st.integers(0, 10**6))
@settings(max_examples=3)
def test_gradient_of_sizes_at_kinks(term: nn.Module, kinds: list[str], seed: int) -> None:
    """Sizes have kinks at features of 0, their differences at equal sizes."""
    x = rows(kinds, WIDTH, seed).view(2, CASES, WIDTH)

    def value(x: Tensor) -> Tensor:
        found: Tensor = term({"a": x[0], "b": x[1]})
        return found

    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(leaf), leaf)
    assert_between(found, one_sided(value, x))
    assert not bool(found[x == 0].any())


@pytest.mark.parametrize("name", ["sample_anchor", "unimodal_anchor", "crossmodal_anchor", "hierarchical_anchor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_one_active_unit(name: str, dtype: torch.dtype) -> None:
    """Every row has one nonzero entry: the gradient equals that of loops over vectors, at any scale."""
    x = torch.zeros(2, 4, 3, dtype=torch.float64)
    x[0, range(4), [0, 1, 2, 1]] = torch.tensor([2.0, 0.25, 1.0, 4.0]).double()
    x[1, range(4), [1, 2, 0, 0]] = torch.tensor([1.0, 8.0, 0.5, 2.0]).double()
    labels = [0, 1, 2, 0]
    exact = x.clone().requires_grad_()
    expected = anchor_losses(exact, labels, N_CLASSES)
    wanted = expected[name.removesuffix("_anchor")] if name != "hierarchical_anchor" else sum(expected.values())
    (grad,) = torch.autograd.grad(wanted, exact)
    for scale in (2.0**-60, 1.0, 2.0**60):
        leaf = (x * scale).to(dtype).requires_grad_()
        value = build(name, {}).to(dtype)({"a": leaf[0], "b": leaf[1]}, torch.tensor(labels))
        (found,) = torch.autograd.grad(value, leaf)
        torch.testing.assert_close(found.double() * scale, grad, rtol=1e-4, atol=1e-5)
    assert grad.abs().max() > 0.1
