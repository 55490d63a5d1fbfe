"""The three anchor losses: the published numbers, degenerate batches, number formats, invariants."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers import anchor_reference
from helpers import golden_numbers as golden
from helpers.loss_choices import LABELS, N_CLASSES
from helpers.loss_choices import batch as batch_of
from mmfusion.losses import (
    CrossmodalAnchorLoss,
    HierarchicalAnchorLoss,
    SampleAnchorLoss,
    UnimodalAnchorLoss,
    anchor_set,
    crossmodal_anchor_loss,
    hierarchical_anchor_loss,
    sample_anchor_loss,
    unimodal_anchor_loss,
)

LOSSES = {"sample": sample_anchor_loss, "unimodal": unimodal_anchor_loss, "crossmodal": crossmodal_anchor_loss}
TERMS = {"sample": SampleAnchorLoss, "unimodal": UnimodalAnchorLoss, "crossmodal": CrossmodalAnchorLoss}
KINDS = [*LABELS, "class_lacks_a_modality", "cancelling", "one_modality"]
PUBLISHED = {"sample": "loss_sam", "unimodal": "loss_up", "crossmodal": "loss_cp"}


def losses(x: Tensor, labels: Tensor, n_classes: int, present: Any = None, **options: Any) -> dict[str, Tensor]:
    """Through the terms, as a model calls them."""
    terms = {name: term(n_classes=n_classes, **options) for name, term in TERMS.items()}
    return {name: term(x, labels, present) for name, term in terms.items()}


def golden_case(key: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, int, float]:
    info = golden.case("loss_bank", key)
    x = golden.array("loss_bank", f"{key}__features", dtype).requires_grad_()
    return x, golden.array("loss_bank", f"{key}__labels"), info["num_classes"], info["tau"]


@pytest.mark.parametrize(
    ("dtype", "relative", "absolute", "gradient"),
    [
        pytest.param(torch.float64, 1e-9, 1e-9, 1e-6, id="float64"),
        pytest.param(torch.float32, 1e-5, 1e-6, 2e-5, id="float32"),
    ],
)
@pytest.mark.parametrize("key", golden.cases("loss_bank"))
def test_matches_published_values_and_gradients(
    key: str, dtype: torch.dtype, relative: float, absolute: float, gradient: float
) -> None:
    x, labels, n_classes, tau = golden_case(key, dtype)
    found = losses(x, labels, n_classes, temperature=tau, reduction="published", eps=1e-8)
    for name, value in found.items():
        expected = golden.case("loss_bank", key)[PUBLISHED[name]]
        assert value.dtype == dtype
        assert value.item() == pytest.approx(expected, rel=relative, abs=absolute), name
    sum(found.values()).backward()
    assert golden.deviation(x.grad, golden.array("loss_bank", f"{key}__grad")) < gradient


@pytest.mark.parametrize("key", golden.cases("loss_bank"))
def test_published_eps_changes_values(key: str) -> None:
    """Almost nothing for ordinary losses; it lowers the loss of anchors far from their positives."""
    x, labels, n_classes, tau = golden_case(key, torch.float64)
    exact = losses(x, labels, n_classes, temperature=tau, reduction="published")
    published = losses(x, labels, n_classes, temperature=tau, reduction="published", eps=1e-8)
    gaps = {name: (exact[name] - published[name]).item() for name in exact}
    assert all(gap >= -2.1e-8 for gap in gaps.values())
    largest = {"p02": ("sample", 6.5e-5), "p05": ("unimodal", 7.7e-4)}
    if key in largest:
        name, gap = largest[key]
        assert gaps.pop(name) == pytest.approx(gap, rel=0.02)
    assert max(gaps.values()) < 2e-6


def test_published_eps_removes_gradient_of_hard_anchors() -> None:
    """Two classes on each other's side at a low temperature: the cap is reached and its gradient is lost."""
    x = torch.tensor([[[1.0, 0.1], [-1.0, 0.1]], [[-1.0, 0.1], [1.0, 0.1]]], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1])
    options: dict[str, Any] = {"temperature": 0.01, "reduction": "published"}
    exact = losses(x, labels, 2, **options)["unimodal"]
    published = losses(x, labels, 2, **options, eps=1e-8)["unimodal"]
    cap = 2 * -math.log(1e-8)  # 2 modalities x 2 classes, over 2 modalities
    assert published.item() == pytest.approx(cap, rel=1e-9)
    assert exact.item() > 4 * cap
    lost = torch.autograd.grad(published, x)[0].abs().max()
    kept = torch.autograd.grad(exact, x)[0].abs().max()
    assert lost < 1e-9 < 1 < kept


def degenerate(kind: str) -> tuple[Tensor, Tensor, int, Tensor]:
    """Embeddings in float64 that float32 holds too, labels, number of classes, presence."""
    inputs = batch_of(kind)
    x, present = (torch.stack(list(values.values())) for values in (inputs.embeddings, inputs.present))
    if kind == "class_lacks_a_modality":
        present[0, 2:] = False
    if kind == "cancelling":  # the mean of a class is rounding noise, which has a direction in float32
        x[:, 1] = -x[:, 0]
    if kind == "one_modality":
        x, present = x[:1], present[:1]
    return x, inputs.targets["label"], N_CLASSES, present


def reference(x: Tensor, labels: Tensor, n_classes: int, present: Tensor, **options: Any) -> dict[str, Tensor]:
    usable = bool((present & (labels >= 0) & (labels < n_classes)).any())
    if not usable:  # nothing to average over
        return dict.fromkeys(LOSSES, x.sum() * 0)
    return anchor_reference.losses(x, labels.tolist(), n_classes, present=present.tolist(), **options)


@pytest.mark.slow
@pytest.mark.parametrize("reduction", ["normalized", "published"])
def test_matches_reference_on_degenerate_batches(reduction: str) -> None:
    """Value and gradient; a gradient scales with one over the length, and is compared in those units."""
    for kind in KINDS:
        x, labels, n_classes, present = degenerate(kind)
        x.requires_grad_()
        values = losses(x, labels, n_classes, present, reduction=reduction)
        expected = reference(x, labels, n_classes, present, published=reduction == "published")
        size = x.detach().abs().amax(-1, keepdim=True)
        for key, value in values.items():
            assert value.item() == pytest.approx(expected[key].item(), rel=1e-10, abs=1e-12), (kind, key)
            grads = [
                torch.autograd.grad(of + 0 * x.sum(), x, retain_graph=True)[0] * size for of in (value, expected[key])
            ]
            torch.testing.assert_close(*grads, rtol=1e-8, atol=1e-10, msg=lambda m, k=(kind, key): f"{k}: {m}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("key", ["p00", "p04", "p05"])
def test_matches_published_values_in_half_precision(key: str, dtype: torch.dtype) -> None:
    """Where the published code gives NaN in float16: within what rounding the embeddings costs."""
    x, labels, n_classes, tau = golden_case(key, dtype)
    x = x.detach().requires_grad_()
    found = losses(x, labels, n_classes, temperature=tau, reduction="published", eps=1e-8)
    sum(found.values()).backward()
    assert bool(x.grad.isfinite().all())
    for name, value in found.items():
        expected = golden.case("loss_bank", key)[PUBLISHED[name]]
        assert value.item() == pytest.approx(expected, rel=0.1, abs=1e-3), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_has_no_effect(dtype: torch.dtype) -> None:
    x, labels, n_classes, present = degenerate("absent_class")
    x = x.float().requires_grad_()
    expected = losses(x, labels, n_classes, present)
    wanted = torch.autograd.grad(sum(expected.values()), x)[0]
    with torch.autocast("cpu", dtype=dtype):
        found = losses(x, labels, n_classes, present)
        anchors = anchor_set(x, labels, n_classes, present)
        functional = {name: loss(anchors) for name, loss in LOSSES.items()}
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(torch.equal(functional[name], expected[name]) for name in expected)
    assert torch.equal(torch.autograd.grad(sum(found.values()), x)[0], wanted)


def test_identical_embeddings_match_closed_form() -> None:
    """m = 3, k = 2, b = 8, the same vector everywhere: only the numbers of positives and negatives are left."""
    x = torch.ones(3, 8, 5, dtype=torch.float64)
    found = losses(x, torch.arange(8) % 2, 2, reduction="published")
    assert found["sample"].item() == pytest.approx(3 * 2 * math.log((4 + 4) / 4))
    assert found["unimodal"].item() == pytest.approx(2 * math.log(1 + 3))
    assert found["crossmodal"].item() == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("name", LOSSES)
def test_learned_temperature_gradcheck(name: str) -> None:
    x = torch.randn(2, 4, 3, dtype=torch.float64)
    anchors = anchor_set(x, torch.tensor([0, 1, 0, 1]), 2)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: LOSSES[name](anchors, temperature=t), (tau,))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature expects float from 0.0001 to 10000( or Tensor)?, got 0.0"),
        ({"reduction": "sum"}, "reduction expects one of normalized, published"),
    ],
)
def test_invalid_options_raise(name: str, options: dict[str, Any], message: str) -> None:
    anchors = anchor_set(torch.ones(1, 2, 3), torch.tensor([0, 1]), 2)
    LOSSES[name](anchors)
    with pytest.raises(ValueError, match=message):
        LOSSES[name](anchors, **options)
    with pytest.raises(ValueError, match=message):
        TERMS[name](**options)


@pytest.mark.parametrize("term", TERMS.values())
def test_invalid_options_of_loss_raise(term: Any) -> None:
    x, labels = torch.ones(1, 2, 3), torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"eps expects float from 0 to 1, got -1\.0"):
        term(eps=-1.0)
    with pytest.raises(ValueError, match="number of classes is unknown"):
        term()(x, labels)
    with pytest.raises(ValueError, match="labels are needed with embeddings"):
        term(n_classes=2)(x)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, int, Tensor]:
    m, b, k = draw(st.integers(1, 3)), draw(st.integers(1, 7)), draw(st.integers(2, 4))
    labels = torch.tensor(draw(st.lists(st.integers(0, k - 1), min_size=b, max_size=b)))
    present = torch.tensor(draw(st.lists(st.booleans(), min_size=m * b, max_size=m * b))).view(m, b)
    g = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.randn(m, b, 4, generator=g, dtype=torch.float64), labels, k, present


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name in one:
        assert one[name].item() == pytest.approx(other[name].item(), rel=1e-10, abs=1e-12), name


@pytest.mark.slow
@given(batches(), st.sampled_from(["normalized", "published"]))
def test_matches_reference_on_any_batch(batch: tuple[Tensor, Tensor, int, Tensor], reduction: str) -> None:
    close(losses(*batch, reduction=reduction), reference(*batch, published=reduction == "published"))


@pytest.mark.slow
@given(batches())
def test_invariant_to_unused_classes(batch: Any) -> None:
    x, labels, n_classes, present = batch
    close(losses(x, labels, n_classes + 3, present), losses(x, labels, n_classes, present))


@pytest.mark.parametrize("key", golden.cases("loss_bank"))
def test_hierarchical_matches_published_values(key: str) -> None:
    x, labels, n_classes, tau = golden_case(key, torch.float64)
    term = HierarchicalAnchorLoss(n_classes=n_classes, temperature=tau, reduction="published", eps=1e-8)
    loss = term(x, labels)
    info = golden.case("loss_bank", key)
    assert loss.item() == pytest.approx(sum(info[name] for name in PUBLISHED.values()), rel=1e-9, abs=1e-9)
    loss.backward()
    assert golden.deviation(x.grad, golden.array("loss_bank", f"{key}__grad")) < 1e-6


@pytest.mark.slow
@given(batches(), st.tuples(*[st.sampled_from([0.0, 0.5, 2.0])] * 3).filter(any))
def test_hierarchical_equals_weighted_sum(batch: Any, weights: tuple[float, float, float]) -> None:
    x, labels, n_classes, present = batch
    parts = losses(*batch)
    expected = sum(weight * parts[name].item() for name, weight in zip(LOSSES, weights))
    anchors = anchor_set(x, labels, n_classes, present)
    assert hierarchical_anchor_loss(anchors, weights=weights).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    term = HierarchicalAnchorLoss(n_classes=n_classes, **dict(zip(LOSSES, weights)))
    assert term(x, labels, present).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (-1.0, 1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, 1.0)])
def test_hierarchical_invalid_weights_raise(weights: Any) -> None:
    anchors = anchor_set(torch.ones(1, 2, 3), torch.tensor([0, 1]), 2)
    with pytest.raises(
        ValueError, match=r"(weights must be above 0|weights expects 3 values, a list of float from 0 to 1000000), got"
    ):
        hierarchical_anchor_loss(anchors, weights=weights)
