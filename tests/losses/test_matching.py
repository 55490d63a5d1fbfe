"""Matching with hard negatives: the formula, degenerate batches, number formats, invariants."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import loss_choices
from helpers.anchor_reference import direction
from helpers.loss_choices import WIDTH
from mmfusion import registry
from mmfusion.losses.linear_layers import Layers
from mmfusion.losses.matching import MatchingLoss, hard_negatives, matching_loss, pair_features

D = WIDTH
Batch = tuple[Tensor, Tensor, Tensor]


def term(dtype: torch.dtype = torch.float64, **options: Any) -> MatchingLoss:
    torch.manual_seed(1)
    return MatchingLoss(dim=D, hidden=4, **options).to(dtype)


def logit(a: Tensor, b: Tensor, head: Layers) -> Tensor:
    """The classifier's, a unit at a time."""
    features = [D * a[i] * b[i] for i in range(D)] + [D * (a[i] - b[i]) ** 2 for i in range(D)]
    total = head.out.bias[0]
    for unit in range(4):
        inner = head.hidden.bias[unit] + sum(w * x for w, x in zip(head.hidden.weight[unit], features))
        total = total + head.out.weight[0, unit] * inner.clamp(min=0)
    return total


def reference(x: Tensor, labels: list[int], present: list[list[bool]], head: Layers, by_class: bool) -> Tensor:
    n_modalities, n_cases, _ = x.shape
    cases = range(n_cases)
    has = [[present[m][i] and bool(x[m, i].any()) for i in cases] for m in range(n_modalities)]
    items = []
    for one, other in itertools.combinations(range(n_modalities), 2):
        for i in cases:
            if not (has[one][i] and has[other][i]):
                continue
            apart = [
                j
                for j in cases
                if (labels[j] != labels[i] and labels[i] >= 0 and labels[j] >= 0 if by_class else j != i)
            ]
            wrong = []
            for here, away in ((one, other), (other, one)):
                a = direction(x[here, i])
                candidates = {j: (a @ direction(x[away, j])).item() for j in apart if has[away][j]}
                if candidates:
                    hardest = max(candidates, key=lambda j: candidates[j])
                    wrong.append((1 + logit(a, direction(x[away, hardest]), head).exp()).log())
            if wrong:
                items += [(1 + (-logit(direction(x[one, i]), direction(x[other, i]), head)).exp()).log(), *wrong]
    return torch.stack(items).mean() if items else torch.zeros((), dtype=x.dtype)


def degenerate(kind: str) -> Batch:
    """Embeddings in float64 that float32 holds too, labels, presence."""
    inputs = loss_choices.batch(kind)
    x, present = (torch.stack(list(values.values())) for values in (inputs.embeddings, inputs.present))
    return x, inputs.targets["label"], present


def value_and_gradient(of: Any, batch: Batch, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = batch[0].detach().clone().to(dtype).requires_grad_()
    value = of(x, *batch[1:])
    return value, torch.autograd.grad(value, x)[0]


both_kinds = pytest.mark.parametrize("exclude", ["case", "class"])


@pytest.mark.slow
@both_kinds
@pytest.mark.parametrize("kind", loss_choices.LABELS)
def test_matches_reference_on_degenerate_batches(kind: str, exclude: str) -> None:
    """Value and gradients, in float64; finite and the same value in float32."""
    batch = degenerate(kind)
    matching = term(exclude=exclude)
    x = batch[0].clone().requires_grad_()
    wanted = reference(x, batch[1].tolist(), batch[2].tolist(), matching.classifier, exclude == "class")
    leaves = [x, *matching.parameters()]
    wanted_grads = torch.autograd.grad(wanted + 0 * sum(p.sum() for p in leaves), leaves)
    value = matching(x, *batch[1:])
    assert value.requires_grad
    torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)
    size = batch[0].abs().amax(-1, keepdim=True)
    found = torch.autograd.grad(value, leaves)
    torch.testing.assert_close(found[0] * size, wanted_grads[0] * size, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(found[1:], wanted_grads[1:], rtol=1e-9, atol=1e-11)
    single, grad = value_and_gradient(term(torch.float32, exclude=exclude), batch, torch.float32)
    assert single.dtype == torch.float32
    assert single.item() == pytest.approx(wanted.item(), rel=1e-5, abs=1e-6)
    assert bool(grad.isfinite().all())


@pytest.mark.parametrize(("kind", "exclude"), [("one_case", "case"), ("all_zero", "case"), ("one_class", "class")])
def test_without_negatives_is_zero(kind: str, exclude: str) -> None:
    """Positives alone would teach a constant answer: the classifier gets no gradient either."""
    matching = term(exclude=exclude)
    value, grad = value_and_gradient(matching, degenerate(kind))
    matching(*degenerate(kind)).backward()
    assert value.item() == 0
    assert not bool(grad.any())
    assert not any(bool(p.grad.any()) for p in matching.parameters())


def test_loss_by_hand() -> None:
    """A classifier that outputs ten times the cosine; two cases, the second of which disagrees with itself."""
    first = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    second = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    found = matching_loss(first, second, lambda a, b: 10 * (a * b).sum(-1))
    # Matches: cosines 1 and 0. Negatives of the first sides: second side 1 (0), second side 0 (1); of the second
    # sides: first side 1 (1), first side 0 (0).
    yes, no = math.log1p(math.exp(-10)), math.log1p(math.exp(10))
    assert found.item() == pytest.approx((yes + math.log(2) + 2 * math.log(2) + 2 * no) / 6, rel=1e-6)


def test_case_with_one_modality_is_a_negative() -> None:
    """The first case alone has both sides: its first has a negative, its second has none."""
    x = torch.randn(2, 2, D, dtype=torch.float64)
    present = torch.tensor([[True, False], [True, True]])
    matching = term()
    a, b, other = direction(x[0, 0]), direction(x[1, 0]), direction(x[1, 1])
    yes, no = (logit(a, side, matching.classifier).item() for side in (b, other))
    expected = (math.log1p(math.exp(-yes)) + math.log1p(math.exp(no))) / 2
    assert matching(x, present=present).item() == pytest.approx(expected, rel=1e-12)


def test_exclude_class_skips_negatives_of_same_class() -> None:
    """The nearest case is of the same class: only ``exclude="class"`` skips it."""
    x = torch.tensor([[1.0, 0, 0, 0], [1.0, 0.1, 0, 0], [0, 1.0, 0, 0]]).repeat(2, 1, 1).double()
    similarity = (x[:1] / x[:1].norm(dim=-1, keepdim=True)) @ (x[1:] / x[1:].norm(dim=-1, keepdim=True)).mT
    labels = torch.tensor([0, 0, 1])
    assert hard_negatives(similarity, ~torch.eye(3).bool().unsqueeze(0))[0].tolist() == [[1, 0, 1]]
    assert hard_negatives(similarity, (labels[:, None] != labels).unsqueeze(0))[0].tolist() == [[2, 2, 1]]
    assert term(exclude="class")(x, labels).item() != term(exclude="case")(x, labels).item()


def test_hard_negatives_are_most_similar_eligible() -> None:
    nan = math.nan
    similarity = torch.tensor([[[0.9, 0.2, 0.5], [nan, -1.0, nan], [0.1, 0.2, 0.3]]], requires_grad=True)
    eligible = torch.tensor([[[False, True, True], [False, True, False], [False, False, False]]])
    for temperature in (None, 1e-4):
        index, found = hard_negatives(similarity, eligible, temperature=temperature)
        assert index.tolist() == [[2, 1, 0]]
        assert found.tolist() == [[True, True, False]]


def test_proportional_negatives_match_probabilities() -> None:
    similarity = torch.tensor([0.3, -0.2, 0.9, 0.5]).repeat(40_000, 1)
    eligible = torch.tensor([True, True, False, True]).expand_as(similarity)
    index, _ = hard_negatives(similarity, eligible, temperature=0.4)
    shares = [math.exp(s / 0.4) for s in (0.3, -0.2, 0.5)]
    expected = [shares[0] / sum(shares), shares[1] / sum(shares), 0.0, shares[2] / sum(shares)]
    frequency = torch.bincount(index, minlength=4) / 40_000
    assert frequency.tolist() == pytest.approx(expected, abs=0.01)  # four standard deviations
    assert frequency[2].item() == 0


def test_proportional_negatives_at_low_temperature_are_hardest() -> None:
    batch = degenerate("whole")
    hardest = term()(*batch).item()
    matching = term(negatives="proportional", temperature=1.0)
    drawn = [matching(*batch).item() for _ in range(20)]
    assert len({round(value, 9) for value in drawn}) > 1
    assert term(negatives="proportional", temperature=1e-4)(*batch).item() == pytest.approx(hardest, rel=1e-12)
    two = degenerate("two_cases")
    assert matching(*two).item() == pytest.approx(term()(*two).item(), rel=1e-12)  # there is only one to draw
    torch.manual_seed(3)
    first = matching(*batch)
    torch.manual_seed(3)
    assert torch.equal(matching(*batch), first)


def test_pair_features_are_symmetric() -> None:
    a, b = torch.randn(2, 100, 64, dtype=torch.float64)
    a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    features = pair_features(a, b)
    assert features.shape == (100, 128)
    assert torch.equal(features, pair_features(b, a))
    torch.testing.assert_close(features[:, :64], 64 * a * b)
    assert features.abs().mean().item() == pytest.approx((2 / math.pi + 2) / 2, rel=0.05)  # of normal variables


def test_half_precision_classifier_computes_in_float32() -> None:
    batch = degenerate("whole")
    half = term(torch.bfloat16)
    value = half(batch[0].float(), *batch[1:])
    assert value.dtype == torch.float32
    assert value.item() == half.float()(batch[0].float(), *batch[1:]).item()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"exclude": "class", "pairs": [("0", "2")]}, {"negatives": "proportional"}], ids=["class", "drawn"]
)
def test_compiles_without_graph_break(options: dict[str, Any]) -> None:
    batch = degenerate("two_cases" if "negatives" in options else "some_missing")  # nothing to draw from in two cases
    matching = term(torch.float32, **options)
    torch._dynamo.reset()
    compiled = torch.compile(matching, fullgraph=True, backend="aot_eager")
    found = value_and_gradient(compiled, batch, torch.float32)
    torch.testing.assert_close(found, value_and_gradient(matching, batch, torch.float32))


@pytest.mark.parametrize("negatives", ["hardest", "proportional"])
def test_runs_on_meta_device(negatives: str) -> None:
    x, labels, present = (y.to("meta") for y in degenerate("some_missing"))
    leaf = x.float().requires_grad_()
    term(torch.float32, exclude="class", negatives=negatives).to("meta")(leaf, labels, present).backward()
    assert leaf.grad.shape == leaf.shape


def test_pairs_select_modalities() -> None:
    x, _, present = degenerate("whole")
    named = dict(zip("abc", x))
    there = dict(zip("abc", present))
    alone = term()({"a": x[0], "c": x[2]})
    assert term(pairs=[["c", "a"]])(named, present=there).item() == pytest.approx(alone.item(), rel=1e-12)


def test_training_lowers_loss() -> None:
    """Cases whose modalities agree are distinguished from mixed ones."""
    torch.manual_seed(0)
    x = torch.randn(1, 16, 8).repeat(2, 1, 1)
    matching = MatchingLoss(dim=8, hidden=16)
    optimizer = torch.optim.Adam(matching.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        matching(x).backward()
        optimizer.step()
    assert matching(x).item() < 0.1


X = {"a": torch.randn(4, D), "b": torch.randn(4, D)}
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("options", "batch", "message"),
    [
        ({"negatives": "random"}, (X,), "negatives expects one of hardest, proportional, got 'random'"),
        ({"exclude": "nothing"}, (X,), "exclude expects one of case, class, got 'nothing'"),
        ({"temperature": 0.0}, (X,), "temperature expects float from 0.0001 to 10000, got 0.0"),
        ({"pairs": [("a", "a")]}, (X,), "pairs must be pairs of two different names"),
        ({"pairs": [("a", "c")]}, (X,), r"unknown embeddings \['c'\]"),
        ({"dim": 5}, (X,), "built for embeddings of width 5, got 4: fix its dim"),
        ({"dim": 0}, (X,), "dim expects int from 1 to 16384, got 0"),
        ({"hidden": 0}, (X,), "hidden expects int from 1 to 16384, got 0"),
        ({}, ({"a": X["a"]},), "at least two modalities"),
        ({}, (X | {"b": X["b"][1:]},), r"'b' must be floating point of shape \(4, 4\), got torch.float32 \(3, 4\)"),
        ({"exclude": "class"}, (X,), "labels are needed"),
        ({"exclude": "class"}, (X, LABELS.float()), "labels must be int64.*got torch.float32"),
    ],
)
def test_invalid_options_and_inputs_raise(options: dict[str, Any], batch: tuple[Any, ...], message: str) -> None:
    assert MatchingLoss(dim=D)(X, LABELS).isfinite()
    with pytest.raises(ValueError, match=message):
        MatchingLoss(**{"dim": D} | options)(*batch)


@pytest.mark.parametrize(
    ("similarity", "eligible", "temperature", "message"),
    [
        (torch.zeros(2, 3), torch.ones(2, 3), None, r"eligible must be bool of shape \(2, 3\), got torch.float32"),
        (torch.zeros(2, 3), torch.ones(3, 2).bool(), None, r"shape \(2, 3\), got torch.bool \(3, 2\)"),
        (torch.zeros(3), torch.ones(3).bool(), None, r"shape \(..., b, c\)"),
        (torch.zeros(2, 3), torch.ones(2, 3).bool(), -1.0, "temperature must be positive"),
    ],
)
def test_hard_negatives_invalid_inputs_raise(
    similarity: Tensor, eligible: Tensor, temperature: float | None, message: str
) -> None:
    assert hard_negatives(torch.zeros(2, 3), torch.ones(2, 3).bool())[1].all()
    with pytest.raises(ValueError, match=message):
        hard_negatives(similarity, eligible, temperature=temperature)


def test_function_invalid_inputs_raise() -> None:
    with pytest.raises(ValueError, match=r"second side must be .* \(1, 2, 3\), got torch.float32 \(1, 2, 4\)"):
        matching_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), lambda a, b: a.sum(-1))


def test_created_by_name() -> None:
    built = registry.losses.create("matching", dim=D, hidden=7)
    assert isinstance(built, MatchingLoss)
    assert built.classifier.hidden.out_features == 7
    assert "negatives='hardest', temperature=0.07, exclude='case'" in repr(built)
