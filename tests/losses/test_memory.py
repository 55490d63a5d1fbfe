"""Prototypes that remember, against the same arithmetic written out case by case."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers.anchor_reference import direction
from mmfusion.losses import LossBank, MemoryPrototypes, MovingPrototypes, SampleAnchorLoss, anchor_set, unit
from mmfusion.losses.prototypes import Prototypes

M, K, D = 2, 3, 4


def batch(seed: int, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Directions, labels and presence; zero where a case lacks a modality."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (n,), generator=g)
    counted = torch.rand(M, n, generator=g) < 0.7
    x = unit(torch.randn(M, n, D, generator=g, dtype=torch.float64))
    return torch.where(counted.unsqueeze(-1), x, 0.0), labels, counted


def expected_of_means(means: dict[tuple[int, int], Tensor]) -> Prototypes:
    unimodal, crossmodal = torch.zeros(M, K, D, dtype=torch.float64), torch.zeros(K, D, dtype=torch.float64)
    for (m, k), mean in means.items():
        unimodal[m, k] = direction(mean)
    for k in range(K):
        parts = [means[m, k] for m in range(M) if (m, k) in means]
        if parts:
            crossmodal[k] = direction(sum(parts))
    there = torch.tensor([[(m, k) in means for k in range(K)] for m in range(M)])
    return Prototypes(torch.cat([unimodal, crossmodal[None]]), torch.cat([there, there.any(0, keepdim=True)]))


def check(found: Prototypes, expected: Prototypes) -> None:
    for name, one, other in zip(Prototypes._fields, found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 0.9]))
def test_moving_prototypes_match_reference(seed: int, momentum: float) -> None:
    source = MovingPrototypes(M, K, D, momentum=momentum).double()
    means: dict[tuple[int, int], Tensor] = {}
    for step in range(4):
        x, labels, counted = batch(seed + step)
        for m in range(M):
            for k in range(K):
                own = [x[m, i] for i in range(5) if labels[i] == k and counted[m, i]]
                if own:
                    mean = sum(own) / len(own)
                    means[m, k] = momentum * means[m, k] + (1 - momentum) * mean if (m, k) in means else mean
        check(source(x, labels, counted), expected_of_means(means))


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 5, 7, 12, 100]))
def test_memory_prototypes_match_reference(seed: int, size: int) -> None:
    """All cases of this batch and the last ``size`` before it, equally; sizes below, at and above the batch's five."""
    source = MemoryPrototypes(M, K, D, size=size).double()
    past: list[tuple[Tensor, int, Tensor]] = []
    for step in range(5):
        x, labels, counted = batch(seed + step)
        now = [(x[:, i], int(labels[i]), counted[:, i]) for i in range(5)]
        means = {}
        for m in range(M):
            for k in range(K):
                own = [v[m] for v, label, there in past + now if label == k and there[m]]
                if own:
                    means[m, k] = sum(own) / len(own)
        check(source(x, labels, counted), expected_of_means(means))
        past = (past + now)[-size:]


SOURCES = [MovingPrototypes(M, K, D), MemoryPrototypes(M, K, D, size=7)]
every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)


@every_source
def test_first_batch_matches_no_memory(source: Any) -> None:
    x, labels, counted = batch(0)
    fresh = type(source)(M, K, D).double()
    check(fresh(x, labels, counted), anchor_set(x, labels, K, counted).prototypes)


@every_source
def test_only_current_batch_gets_gradient(source: Any) -> None:
    fresh = type(source)(M, K, D).double()
    x, labels, counted = batch(1)
    first = x.clone().requires_grad_()
    fresh(first, labels, counted).crossmodal.sum()
    y, labels, counted = batch(2)
    second = y.clone().requires_grad_()
    fresh(second, labels, counted).crossmodal.sum().backward()
    assert first.grad is None
    assert bool(second.grad.any())


@every_source
def test_backward_after_next_forward(source: Any) -> None:
    """The update must not overwrite what autograd stored."""
    fresh = type(source)(M, K, D).double()
    x, labels, counted = batch(1)
    fresh(*batch(0))
    leaf = x.clone().requires_grad_()
    value = fresh(leaf, labels, counted).unimodal.square().sum()
    value = value + fresh(leaf, labels, counted).crossmodal[:, 0].sum()
    fresh(*batch(2))
    value.backward()
    assert bool(leaf.grad.isfinite().all())


@every_source
def test_evaluation_does_not_update_memory(source: Any) -> None:
    fresh = type(source)(M, K, D).double()
    fresh(*batch(0))
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    fresh.eval()
    first = fresh(*batch(1))
    check(fresh(*batch(1)), first)
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


@every_source
def test_state_dict_round_trip(source: Any) -> None:
    fresh = type(source)(M, K, D, **({"size": 7} if isinstance(source, MemoryPrototypes) else {})).double()
    other = type(source)(M, K, D, **({"size": 7} if isinstance(source, MemoryPrototypes) else {})).double()
    fresh(*batch(0))
    fresh(*batch(1))
    other.load_state_dict(fresh.state_dict())
    check(other(*batch(2)), fresh(*batch(2)))


@every_source
def test_nonfinite_values_are_not_stored(source: Any) -> None:
    fresh = type(source)(M, K, D).double()
    x, labels, counted = batch(3)
    bad = x.clone()
    bad[:, 1] = float("nan")
    fresh(bad, labels, counted)
    found = fresh(*batch(4))
    assert all(bool(part.isfinite().all()) for part in found[:2])


def test_class_absent_in_batch_still_repels() -> None:
    """One class in the batch: without a memory the loss is zero, with one it is not."""
    g = torch.Generator().manual_seed(0)
    x, labels = torch.randn(M, 6, D, generator=g), torch.arange(6) % K
    later, one_class = torch.randn(M, 4, D, generator=g), torch.zeros(4, dtype=torch.int64)
    from mmfusion.losses import UnimodalAnchorLoss

    for source, more in ((None, False), (MovingPrototypes(M, K, D), True), (MemoryPrototypes(M, K, D), True)):
        bank = LossBank(K, {"unimodal": (1.0, UnimodalAnchorLoss())}, prototypes=source)
        bank(x, labels)
        assert (bank(later, one_class)["unimodal"].item() > 0) == more


def test_loss_with_separate_prototypes() -> None:
    g = torch.Generator().manual_seed(0)
    x, labels = torch.randn(M, 6, D, generator=g), torch.arange(6) % K
    terms = {"own": (1.0, SampleAnchorLoss(prototypes=MovingPrototypes(M, K, D))), "batch": (1.0, SampleAnchorLoss())}
    bank = LossBank(K, terms)
    first = bank(x, labels)
    assert torch.equal(first["own"], first["batch"])
    second = bank(x.flip(1), labels)
    assert second["own"] != second["batch"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@every_source
def test_half_precision_state_computes_in_float32(source: Any, dtype: torch.dtype) -> None:
    """A bank that was cast with its model still works; its memory is then as coarse as the dtype."""
    fresh = type(source)(M, K, D).to(dtype)
    x, labels, counted = batch(0)
    fresh(x.float(), labels, counted)
    found = fresh(x.float(), labels, counted)
    assert found.unimodal.dtype == torch.float32
    torch.testing.assert_close(
        found.unimodal.double(), anchor_set(x, labels, K, counted).prototypes.unimodal, rtol=0, atol=0.02
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MovingPrototypes(M, K, D, momentum=1.0), "momentum expects float from 0 to below 1, got 1.0"),
        (lambda: MovingPrototypes(M, K, D, momentum=-0.1), "momentum expects float from 0 to below 1, got -0.1"),
        (lambda: MovingPrototypes(0, K, D), "n_modalities expects int from 1 to 4096, got 0"),
        (lambda: MemoryPrototypes(M, K, D, size=0), "size expects int from 1 to 1000000, got 0"),
        (
            lambda: MovingPrototypes(M + 1, K, D)(*batch(0)),
            "built for 3 modalities of width 4, the embeddings are 2 modalities of width 4",
        ),
        (lambda: MemoryPrototypes(M, K, D + 1)(*batch(0)), "built for 2 modalities of width 5"),
    ],
)
def test_invalid_options_and_inputs_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
