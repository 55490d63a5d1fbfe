"""Classification losses: the formulas, their edges, counts and where they come from, number formats."""

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mmfusion import registry
from mmfusion.losses import Loss, LossBank
from mmfusion.losses.class_balanced import ClassBalancedLoss, class_balanced_loss, effective_number_weights
from mmfusion.losses.cross_entropy import CrossEntropyLoss, cross_entropy_loss
from mmfusion.losses.focal import FocalLoss, focal_loss
from mmfusion.losses.logit_adjusted import LogitAdjustedLoss, logit_adjusted_loss
from mmfusion.tokens import LossInputs

K = 3
WEIGHTS = torch.tensor([0.5, 2.0, 1.25], dtype=torch.float64)
COUNTS = torch.tensor([900, 40, 3])
NAN, INF = math.nan, math.inf
Formula = Callable[[Tensor, Tensor], Tensor]

# The formulas, a case at a time, in float64.


def shares(row: Tensor) -> list[Tensor]:
    powers = [(x - row.detach().max()).exp() for x in row]
    return [p / sum(powers) for p in powers]


def rows_of(logits: Tensor, labels: Tensor) -> list[tuple[Tensor, int]]:
    return [(logits[i], int(y)) for i, y in enumerate(labels) if 0 <= y < logits.shape[1]]


def nothing(logits: Tensor) -> Tensor:
    return logits.new_zeros(())


def of_cross_entropy(smoothing: float = 0.0, weights: Tensor = WEIGHTS[:0]) -> Formula:
    def reference(logits: Tensor, labels: Tensor) -> Tensor:
        w = weights.tolist() or [1.0] * K
        total, weight = nothing(logits), 0.0
        for row, y in rows_of(logits, labels):
            wanted = [smoothing / K + (1 - smoothing) * (c == y) for c in range(K)]
            total = total - sum(w[c] * wanted[c] * p.log() for c, p in enumerate(shares(row)))
            weight += w[y]
        return total / weight if weight else total

    return reference


def of_focal(gamma: float, weights: Tensor = WEIGHTS[:0], left_out: tuple[int, ...] = ()) -> Formula:
    def reference(logits: Tensor, labels: Tensor) -> Tensor:
        w = weights.tolist() or [1.0] * K
        terms = [
            -w[y] * (1 - shares(row)[y]) ** gamma * shares(row)[y].log()
            for row, y in rows_of(logits, labels)
            if y not in left_out
        ]
        return sum(terms) / len(terms) if terms else nothing(logits)

    return reference


def numbers(counts: list[int], beta: float) -> Tensor:
    """One over the effective numbers, as sums of powers; they sum to the number of classes that have a case."""
    inverse = [1 / sum(beta**j for j in range(n)) if n else 0.0 for n in counts]
    return torch.tensor([x * sum(n > 0 for n in counts) / sum(inverse) for x in inverse], dtype=torch.float64)


def of_adjusted(counts: list[int], tau: float, smoothing: float = 0.0) -> Formula:
    def reference(logits: Tensor, labels: Tensor) -> Tensor:
        added = torch.tensor([tau * math.log(max(n, 1) / sum(counts)) for n in counts], dtype=torch.float64)
        return of_cross_entropy(smoothing)(logits + added, labels)

    return reference


SOME, ONE_EMPTY = [900, 40, 3], [7, 0, 2]
VARIANTS: dict[str, tuple[Callable[[], Loss], Formula]] = {
    "cross_entropy": (CrossEntropyLoss, of_cross_entropy()),
    "smoothed": (lambda: CrossEntropyLoss(label_smoothing=0.3), of_cross_entropy(0.3)),
    "weighted": (lambda: CrossEntropyLoss(class_weights=WEIGHTS.tolist()), of_cross_entropy(0.0, WEIGHTS)),
    "both": (
        lambda: CrossEntropyLoss(label_smoothing=0.1, class_weights=WEIGHTS.tolist(), n_classes=K),
        of_cross_entropy(0.1, WEIGHTS),
    ),
    "focal": (FocalLoss, of_focal(2.0)),
    "focal_half": (lambda: FocalLoss(gamma=0.5), of_focal(0.5)),
    "focal_0": (lambda: FocalLoss(gamma=0.0), of_cross_entropy()),
    "focal_weighted": (lambda: FocalLoss(gamma=3.0, class_weights=WEIGHTS.tolist()), of_focal(3.0, WEIGHTS)),
    "class_balanced": (lambda: ClassBalancedLoss(counts=SOME), of_focal(0.0, numbers(SOME, 0.999))),
    "class_balanced_focal": (
        lambda: ClassBalancedLoss(counts=ONE_EMPTY, beta=0.9, gamma=1.5),
        of_focal(1.5, numbers(ONE_EMPTY, 0.9), left_out=(1,)),
    ),
    "logit_adjusted": (lambda: LogitAdjustedLoss(counts=SOME), of_adjusted(SOME, 1.0)),
    "logit_adjusted_empty": (
        lambda: LogitAdjustedLoss(counts=ONE_EMPTY, tau=1.7, label_smoothing=0.2),
        of_adjusted(ONE_EMPTY, 1.7, 0.2),
    ),
}
every_variant = pytest.mark.parametrize("name", VARIANTS)


def built(name: str, dtype: torch.dtype = torch.float64) -> Loss:
    return VARIANTS[name][0]().to(dtype)


def value_and_gradient(of: Any, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().clone().requires_grad_()
    value = of(logits, labels)
    return value, torch.autograd.grad(value + 0 * logits.sum(), logits)[0]


LABELS: dict[str, list[int]] = {
    "whole": [0, 1, 2, 1, 0, 2],
    "one_case": [1],
    "one_class": [2, 2, 2],
    "absent_class": [0, 2, 2, 0],
    "out_of_range": [0, -1, 3, 1, -100, 2**40],
    "no_label": [-1, 3],
    "no_case": [],
}


def batch(kind: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    labels = torch.tensor(LABELS[kind], dtype=torch.int64)
    return 3 * torch.randn(len(labels), K, generator=torch.Generator().manual_seed(seed)).double(), labels


@every_variant
@pytest.mark.parametrize("kind", LABELS)
def test_matches_reference_on_degenerate_batches(name: str, kind: str) -> None:
    """Value and gradient, in float64 and, but for rounding, in float32."""
    logits, labels = batch(kind)
    wanted, wanted_grad = value_and_gradient(VARIANTS[name][1], logits, labels)
    value, grad = value_and_gradient(built(name), logits, labels)
    torch.testing.assert_close(value, wanted, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(grad, wanted_grad, rtol=1e-9, atol=1e-12)
    single, single_grad = value_and_gradient(built(name, torch.float32), logits.float(), labels)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(single_grad.double(), wanted_grad, rtol=1e-4, atol=1e-6)


@every_variant
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e3, 1e20])
def test_finite_at_any_scale_in_float32(name: str, scale: float) -> None:
    logits, labels = batch("whole")
    logits = (logits * scale).float()
    value, grad = value_and_gradient(built(name, torch.float32), logits, labels)
    exact, exact_grad = value_and_gradient(built(name), logits.double(), labels)
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    assert bool(exact.isfinite())
    torch.testing.assert_close(grad.double(), exact_grad, rtol=1e-4, atol=1e-6)
    assert bool(grad.isfinite().all())


@every_variant
@pytest.mark.parametrize("content", [NAN, INF, -INF])
def test_ignored_case_has_no_effect(name: str, content: float) -> None:
    """Bit for bit, in value and gradient."""
    logits, labels = batch("out_of_range")
    inside = ((labels >= 0) & (labels < K)).unsqueeze(1)
    one = value_and_gradient(built(name), logits, labels)
    leaf = torch.where(inside, logits, content).requires_grad_()
    value = built(name)(leaf, labels)
    (grad,) = torch.autograd.grad(value, leaf)
    assert torch.equal(one[0], value)
    assert torch.equal(one[1], grad)
    assert not bool(grad[~inside.squeeze(1)].any())


# Cross-entropy


@given(
    seed=st.integers(0, 10**6),
    smoothing=st.sampled_from([0.0, 0.1, 1.0]),
    weights=st.sampled_from([None, WEIGHTS, torch.tensor([0.0, 1.0, 3.0])]),
)
def test_cross_entropy_matches_torch(seed: int, smoothing: float, weights: Tensor | None) -> None:
    logits, labels = batch("whole", seed)
    weights = None if weights is None else weights.double()
    found = cross_entropy_loss(logits, labels, label_smoothing=smoothing, class_weights=weights)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, weights, label_smoothing=smoothing))


def test_cross_entropy_by_hand() -> None:
    logits, labels = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]]), torch.tensor([0, 1])
    assert cross_entropy_loss(logits, labels).item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)
    weighted = cross_entropy_loss(logits, labels, class_weights=torch.tensor([3.0, 1.0]))
    assert weighted.item() == pytest.approx((3 * math.log(4) + math.log(4 / 3)) / 4)
    smoothed = cross_entropy_loss(logits, labels, label_smoothing=1.0)
    assert smoothed.item() == pytest.approx((math.log(4) + math.log(4 / 3)) / 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_zero_class_weights_give_zero(smoothing: float) -> None:
    """Where torch divides by zero."""
    logits = torch.randn(2, 2, requires_grad=True)
    weights = torch.tensor([0.0, 1.0])
    loss = cross_entropy_loss(logits, torch.tensor([0, 0]), class_weights=weights, label_smoothing=smoothing)
    loss.backward()
    assert loss.item() == 0
    assert not bool(logits.grad.any())


# Focal loss


def test_focal_of_two_classes_matches_paper() -> None:
    """Equation 5, on the difference of the logits, p = sigmoid(x)."""
    x = torch.tensor([-2.0, 0.3, 4.0], dtype=torch.float64)
    labels, alpha, gamma = torch.tensor([1, 0, 1]), 0.25, 2.0
    p = 1 / (1 + (-x).exp())
    p_t = [p[0], 1 - p[1], p[2]]
    alpha_t = [alpha, 1 - alpha, alpha]
    expected = sum(-a * (1 - q) ** gamma * q.log() for a, q in zip(alpha_t, p_t)) / 3
    logits = torch.stack([torch.zeros(3).double(), x], 1)
    found = focal_loss(logits, labels, gamma=gamma, class_weights=torch.tensor([1 - alpha, alpha]))
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("margin", [-200.0, -90.0, -40.0, -17.0, -5.0, 5.0, 40.0, 200.0])
def test_focal_is_precise_in_float32(gamma: float, margin: float) -> None:
    """In float32: of two classes with logits 0 and m, ``p = 1 / (1 + e^m)`` for the first."""
    logits = torch.tensor([[0.0, margin]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0]), gamma=gamma)
    loss.backward()
    nll = math.log1p(math.exp(margin)) if margin < 0 else margin + math.log1p(math.exp(-margin))
    p, rest = 1 / (1 + math.exp(margin)), 1 / (1 + math.exp(-margin))
    # d/dm: nll grows with 1 - p, the logarithm of 1 - p with p.
    slope = rest**gamma * (gamma * p * nll + rest)
    tiny = torch.finfo(torch.float32).tiny
    assert loss.item() == pytest.approx(rest**gamma * nll, rel=1e-4, abs=tiny)
    assert logits.grad.tolist()[0] == pytest.approx([-slope, slope], rel=1e-4, abs=tiny)


def test_focal_of_one_class_is_zero() -> None:
    logits = torch.randn(3, 1, requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0, 1]))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.tolist() == [[0.0]] * 3


@given(seed=st.integers(0, 10**6))
def test_focal_decreases_with_gamma(seed: int) -> None:
    logits, labels = batch("whole", seed)
    values = [focal_loss(logits, labels, gamma=gamma).item() for gamma in (0.0, 0.5, 1.0, 2.0)]
    assert values == sorted(values, reverse=True)


# Effective numbers


@given(
    counts=st.lists(st.integers(0, 300), min_size=1, max_size=5).filter(any),
    beta=st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.9999]),
)
def test_effective_number_weights_match_reference(counts: list[int], beta: float) -> None:
    found = effective_number_weights(torch.tensor(counts).double(), beta=beta)
    torch.testing.assert_close(found, numbers(counts, beta), rtol=1e-9, atol=0)
    assert found.sum().item() == pytest.approx(sum(n > 0 for n in counts))
    assert [w == 0 for w in found.tolist()] == [n == 0 for n in counts]


def test_effective_numbers_by_hand() -> None:
    """``E_1 = 1`` and ``E_2 = 1.5`` with beta one half."""
    assert effective_number_weights(torch.tensor([1, 2]), beta=0.5).tolist() == pytest.approx([1.2, 0.8])
    assert effective_number_weights(torch.tensor([1, 2, 5]), beta=0.0).tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("beta", [1 - 1e-7, 1 - 1e-12, math.nextafter(1, 0)])
def test_beta_near_1_equals_inverse_counts_in_float32(beta: float) -> None:
    found = effective_number_weights(torch.tensor([1, 10, 100]), beta=beta)
    assert found.dtype == torch.float32
    inverse = torch.tensor([1.0, 0.1, 0.01])
    torch.testing.assert_close(found, 3 * inverse / inverse.sum(), rtol=2e-5, atol=0)


@pytest.mark.parametrize("beta", [0.0, 0.9])
def test_effective_numbers_of_large_counts_are_equal(beta: float) -> None:
    """Where ``beta^n`` vanishes the weights are equal, also for counts that float32 holds and int32 does not."""
    assert effective_number_weights(torch.tensor([10**4, 10**12]), beta=beta).tolist() == [1.0, 1.0]


def test_effective_numbers_of_zero_counts_are_zero() -> None:
    assert effective_number_weights(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_class_balanced_is_mean_over_cases() -> None:
    """Not over their weights: then a batch of one class would not depend on the class."""
    logits = torch.zeros(2, 2, dtype=torch.float64)
    rare, common = (class_balanced_loss(logits, torch.tensor([y, y]), torch.tensor([1, 2]), beta=0.5) for y in (0, 1))
    assert (rare.item(), common.item()) == pytest.approx((1.2 * math.log(2), 0.8 * math.log(2)))


def test_class_with_zero_count() -> None:
    """Class-balanced: left out. Logit-adjusted: as a class of one case."""
    logits, counts = torch.tensor([[1.0, 2.0, 0.5], [0.2, -1.0, 3.0]]).double(), torch.tensor([7, 0, 2])
    alone = class_balanced_loss(logits[:1], torch.tensor([0]), counts)
    assert class_balanced_loss(logits, torch.tensor([0, 1]), counts).item() == alone.item()
    assert class_balanced_loss(logits, torch.tensor([1, 1]), counts).item() == 0
    floored = torch.tensor([7, 1, 2])
    labels = torch.tensor([0, 1])
    torch.testing.assert_close(
        logit_adjusted_loss(logits, labels, counts), logit_adjusted_loss(logits, labels, floored)
    )


# Logit adjustment


def test_logit_adjusted_by_hand() -> None:
    """Three quarters and one quarter, logits equal: the shares equal the prior."""
    logits, counts = torch.zeros(1, 2), torch.tensor([30, 10])
    for label, share in ((0, 3 / 4), (1, 1 / 4)):
        found = logit_adjusted_loss(logits, torch.tensor([label]), counts)
        assert found.item() == pytest.approx(-math.log(share))
    squared = logit_adjusted_loss(logits, torch.tensor([1]), counts, tau=2.0)
    assert squared.item() == pytest.approx(-math.log(1 / 10))


def test_logit_adjusted_with_tau_zero_is_cross_entropy() -> None:
    logits, labels = batch("whole")
    assert torch.equal(logit_adjusted_loss(logits, labels, COUNTS, tau=0.0), cross_entropy_loss(logits, labels))


# The terms


def inputs_of(**outputs: Tensor) -> LossInputs:
    return LossInputs(outputs, {}, dict.fromkeys(outputs, torch.tensor([0, 1, 2, 1, 0, 2])), {}, {})


def test_loss_reads_its_target() -> None:
    one, two = torch.randn(2, 6, K)
    expected = F.cross_entropy(two, torch.tensor([0, 1, 2, 1, 0, 2]))
    torch.testing.assert_close(CrossEntropyLoss()(inputs_of(grade=two)), expected)
    torch.testing.assert_close(CrossEntropyLoss(target="grade")(inputs_of(other=one, grade=two)), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "class_balanced", "logit_adjusted"])
def test_created_by_name(name: str) -> None:
    term = registry.losses.create(name, n_classes=K, target="grade")
    if "counts" in term.needs:
        term.set_counts(COUNTS)
    assert term(inputs_of(other=torch.randn(6, 2), grade=torch.randn(6, K))).item() > 0
    assert "target='grade'" in repr(term)


counted_terms = pytest.mark.parametrize("kind", [ClassBalancedLoss, LogitAdjustedLoss])


@counted_terms
def test_missing_counts_raise(kind: Any) -> None:
    logits, labels = batch("whole")
    for term in (kind(), kind(n_classes=K)):
        with pytest.raises(ValueError, match=rf"{kind.__name__} needs .* give counts=..., or call set_counts\(\)"):
            term(logits, labels)
        assert not term.has_counts
        term.set_counts(COUNTS)
        assert term.n_classes == K
        assert term.has_counts
        assert torch.equal(term(logits, labels), kind(counts=SOME)(logits, labels))


@counted_terms
def test_new_counts_replace_old_ones(kind: Any) -> None:
    logits, labels = batch("whole")
    term = kind(counts=[1, 1, 1])
    before = term(logits, labels).item()
    term.set_counts(SOME)
    assert term(logits, labels).item() == kind(counts=SOME)(logits, labels).item() != before


@counted_terms
def test_bank_sets_n_classes(kind: Any) -> None:
    term = kind()
    assert term.n_classes is None
    assert dict(term.named_buffers()) == {}
    bank = LossBank(K, {"it": (1.0, term)})
    assert term.n_classes == K
    assert bank.state_dict()["terms.it.counts"].tolist() == [0, 0, 0]
    assert LossBank(None, {"it": (1.0, kind())}).terms["it"].n_classes is None
    with pytest.raises(ValueError, match="'it' was built for 3 classes, the bank has 4"):
        LossBank(4, {"it": (1.0, kind(counts=SOME))})


@counted_terms
@pytest.mark.parametrize("options", [{}, {"n_classes": K}, {"counts": [1, 1, 1]}], ids=["nothing", "classes", "counts"])
@pytest.mark.parametrize("assign", [False, True])
def test_state_dict_restores_counts(kind: Any, options: dict[str, Any], assign: bool) -> None:
    logits, labels = batch("whole")
    bank = LossBank(None, {"it": (1.0, kind(counts=SOME))})
    file = io.BytesIO()
    torch.save(bank.state_dict(), file)
    file.seek(0)
    other = LossBank(None, {"it": (1.0, kind(**options))})
    other.load_state_dict(torch.load(file, weights_only=True), assign=assign)
    assert other.terms["it"].n_classes == K
    assert torch.equal(other.terms["it"](logits, labels), bank.terms["it"](logits, labels))


@counted_terms
def test_state_dict_without_counts_removes_counts(kind: Any) -> None:
    term = kind(counts=SOME)
    term.load_state_dict(kind(n_classes=K).state_dict())
    with pytest.raises(ValueError, match="needs the number of training cases"):
        term(*batch("whole"))


def test_state_dict_of_other_n_classes_raises() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for counts"):
        LogitAdjustedLoss(n_classes=2).load_state_dict(LogitAdjustedLoss(counts=SOME).state_dict())


@counted_terms
def test_counts_survive_copy_cast_and_meta_device(kind: Any) -> None:
    logits, labels = batch("whole")
    large = [10**7 + 1, 70_000, 2]  # beyond float16, and beyond what bfloat16 tells apart
    term = kind(counts=large)
    expected = term(logits, labels)
    for other in (copy.deepcopy(term), copy.deepcopy(term).half(), copy.deepcopy(term).bfloat16()):
        assert torch.equal(other(logits, labels), expected)
    with torch.device("meta"):
        empty = kind(counts=large)
    empty = empty.to_empty(device="cpu")
    empty.load_state_dict(term.state_dict())
    assert torch.equal(empty(logits, labels), expected)


def test_class_weights_are_in_the_state_dict() -> None:
    term = FocalLoss(class_weights=[1, 2, 3])
    assert term.state_dict()["class_weights"].tolist() == [1.0, 2.0, 3.0]
    assert "class_weights" not in FocalLoss().state_dict()


LOGITS, RIGHT = torch.randn(6, K), torch.tensor([0, 1, 2, 1, 0, 2])


@every_variant
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (LOGITS, RIGHT.float(), r"labels must be int64 of shape \(6,\), got torch.float32 \(6,\)"),
        (LOGITS, RIGHT.int(), r"labels must be int64 .* got torch.int32"),
        (LOGITS, RIGHT.unsqueeze(1), r"labels must be int64 of shape \(6,\), got torch.int64 \(6, 1\)"),
        (LOGITS, RIGHT[1:], r"labels must be int64 of shape \(6,\), got torch.int64 \(5,\)"),
        (LOGITS[0], RIGHT, r"logits must be floating point of shape \(b, k\), got torch.float32 \(3,\)"),
        (LOGITS.long(), RIGHT, r"logits must be floating point of shape \(b, k\), got torch.int64"),
        (LOGITS[:, :0], RIGHT, r"logits must be of one class at least, got \(6, 0\)"),
    ],
)
def test_invalid_logits_or_labels_raise(name: str, logits: Tensor, labels: Tensor, message: str) -> None:
    assert built(name, torch.float32)(LOGITS, RIGHT).isfinite()
    with pytest.raises(ValueError, match=message):
        built(name)(logits, labels)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CrossEntropyLoss(label_smoothing=1.1), "label_smoothing expects float from 0 to 1, got 1.1"),
        (lambda: CrossEntropyLoss(label_smoothing=NAN), "label_smoothing expects float from 0 to 1, got nan"),
        (lambda: LogitAdjustedLoss(label_smoothing=-0.1), "label_smoothing expects float from 0 to 1, got -0.1"),
        (
            lambda: CrossEntropyLoss(class_weights=[1.0, -1.0]),
            "class_weights expects a list of float from 0 to 1000000 or none, got",
        ),
        (lambda: CrossEntropyLoss(class_weights=[1.0, INF]), r"class_weights expects .*got \[1.0, inf\]"),
        (lambda: FocalLoss(class_weights=[0.0, 0.0]), r"not all 0, got \[0.0, 0.0\]"),
        (lambda: FocalLoss(class_weights=[1.0, 2.0], n_classes=3), "class_weights must be one per class, 3, got 2"),
        (lambda: FocalLoss(gamma=-1.0), "gamma expects float from 0 to 1000000, got -1.0"),
        (lambda: focal_loss(LOGITS, RIGHT, gamma=-1.0), "gamma expects float from 0 to 1000000, got -1.0"),
        (
            lambda: cross_entropy_loss(LOGITS, RIGHT, label_smoothing=NAN),
            "label_smoothing expects float from 0 to 1, got nan",
        ),
        (lambda: logit_adjusted_loss(LOGITS, RIGHT, COUNTS, tau=INF), "tau expects float from 0 to 1000000, got inf"),
        (lambda: class_balanced_loss(LOGITS, RIGHT, COUNTS, beta=1.0), "beta expects float from 0 to below 1, got 1.0"),
        (lambda: ClassBalancedLoss(beta=1.0), "beta expects float from 0 to below 1, got 1.0"),
        (lambda: ClassBalancedLoss(gamma=-1.0), "gamma expects float from 0 to 1000000, got -1.0"),
        (lambda: LogitAdjustedLoss(tau=-1.0), "tau expects float from 0 to 1000000, got -1.0"),
        (
            lambda: LogitAdjustedLoss(counts=[1, 2], n_classes=3),
            r"counts must be one per class, 3, got 2: \[1.0, 2.0\]",
        ),
        (lambda: LogitAdjustedLoss(counts=[1, -2]), r"counts expects a list of int from 0 .*, got \[1, -2\]"),
        (lambda: LogitAdjustedLoss().set_counts([1, -2]), r"counts must be whole numbers, .* got \[1.0, -2.0\]"),
        (lambda: LogitAdjustedLoss().set_counts([1, 0.5]), r"counts must be whole numbers, .* got \[1.0, 0.5\]"),
        (lambda: LogitAdjustedLoss().set_counts([1, NAN]), r"counts must be whole numbers, .* got \[1.0, nan\]"),
        (lambda: LogitAdjustedLoss().set_counts([1, INF]), r"counts must be whole numbers, .* got \[1.0, inf\]"),
        (lambda: LogitAdjustedLoss(counts=[0, 0]), r"not all 0, got \[0.0, 0.0\]"),
        (lambda: LogitAdjustedLoss(counts=[]), r"not all 0, got \[\]"),
        (lambda: LogitAdjustedLoss().set_counts([[1, 2]]), r"one per class, .* got \[\[1.0, 2.0\]\]"),
        (lambda: LogitAdjustedLoss(n_classes=2).set_n_classes(3), "built for 2 classes, it cannot have 3"),
        (
            lambda: LogitAdjustedLoss(n_classes=2)(LOGITS, RIGHT),
            r"logits must be .* of shape \(b, 2\), got torch.float32 \(6, 3\)",
        ),
        (
            lambda: CrossEntropyLoss(n_classes=4)(LOGITS, RIGHT),
            r"logits must be .* of shape \(b, 4\), got torch.float32 \(6, 3\)",
        ),
        (
            lambda: CrossEntropyLoss(class_weights=[1, 2])(LOGITS, RIGHT),
            r"class_weights must be .*\(3,\), got",
        ),
        (
            lambda: CrossEntropyLoss()(LOGITS.unsqueeze(0), RIGHT),
            r"logits of one output, got \[\].* with target=",
        ),
        (lambda: CrossEntropyLoss()(inputs_of(a=LOGITS, b=LOGITS)), r"one output, got \['a', 'b'\]"),
        (lambda: CrossEntropyLoss(target="c")(inputs_of(a=LOGITS)), r"unknown output 'c', expected one of \['a'\]"),
        (
            lambda: CrossEntropyLoss()(inputs_of(a=LOGITS)._replace(targets={"b": RIGHT})),
            r"unknown target 'a', expected one of \['b'\]",
        ),
        (
            lambda: effective_number_weights(torch.ones(2, 2)),
            r"counts must be numeric of shape \(k,\), got torch.float32 \(2, 2\)",
        ),
        (
            lambda: class_balanced_loss(LOGITS, RIGHT, torch.ones(2)),
            r"counts .* of shape \(3,\), got torch.float32 \(2,\)",
        ),
        (
            lambda: logit_adjusted_loss(LOGITS, RIGHT, torch.ones(2)),
            r"counts .* of shape \(3,\), got torch.float32 \(2,\)",
        ),
        (lambda: focal_loss(LOGITS, RIGHT, class_weights=torch.ones(3).long()), "class_weights must be floating point"),
    ],
)
def test_invalid_options_raise(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
