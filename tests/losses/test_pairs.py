"""The terms over pairs of modalities: their formulas, degenerate batches, number formats, invariants."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.anchor_reference import direction
from helpers.loss_choices import LABELS
from helpers.loss_choices import batch as batch_of
from mmfusion import registry
from mmfusion.losses import Loss
from mmfusion.losses.alignment import AlignmentLoss, alignment_loss
from mmfusion.losses.consistency import ConsistencyLoss, consistency_loss
from mmfusion.losses.info_nce import InfoNCELoss, info_nce_loss
from mmfusion.losses.inputs import loss_inputs
from mmfusion.losses.uniformity import UniformityLoss, uniformity_loss

# The formulas, a vector at a time, in float64. ``there[m][i]``: case i has modality m.

There = list[list[bool]]
Reference = Callable[[Tensor, list[int], There], Tensor]


def mean(values: list[Tensor], x: Tensor) -> Tensor:
    return torch.stack(values).mean() if values else x.sum() * 0


def shared_cases(x: Tensor, there: There) -> list[tuple[int, int, list[int]]]:
    """Every pair of modalities with the cases that have both."""
    return [
        (one, other, [i for i in range(x.shape[1]) if there[one][i] and there[other][i]])
        for one, other in itertools.combinations(range(len(x)), 2)
    ]


def of_info_nce(by_class: bool, tau: float) -> Reference:
    def reference(x: Tensor, labels: list[int], there: There) -> Tensor:
        group = labels if by_class else list(range(x.shape[1]))
        of_pairs = []
        for one, other, both in shared_cases(x, there):
            cases = [i for i in both if group[i] >= 0]
            if len({group[i] for i in cases}) < 2:
                continue
            of_cases = []
            for here, away in ((one, other), (other, one)):
                for i in cases:
                    score = {j: direction(x[here, i]) @ direction(x[away, j]) / tau for j in cases}
                    pulled = [score[j] for j in cases if group[j] == group[i]]
                    everything = torch.logsumexp(torch.stack(list(score.values())), 0)
                    of_cases.append(everything - torch.logsumexp(torch.stack(pulled), 0))
            of_pairs.append(mean(of_cases, x))
        return mean(of_pairs, x)

    return reference


def of_cases(formula: Callable[[Tensor, Tensor], Tensor]) -> Reference:
    """The mean of something between the modalities of a case."""

    def reference(x: Tensor, labels: list[int], there: There) -> Tensor:
        return mean([formula(x[m, i], x[p, i]) for m, p, both in shared_cases(x, there) for i in both], x)

    return reference


def distance(alpha: float) -> Callable[[Tensor, Tensor], Tensor]:
    def formula(f: Tensor, g: Tensor) -> Tensor:
        difference = direction(f) - direction(g)
        return difference.norm() ** alpha if bool(difference.any()) else difference.sum() * 0

    return formula


def of_uniformity(t: float, together: bool) -> Reference:
    def reference(x: Tensor, labels: list[int], there: There) -> Tensor:
        rows = [(m, i) for m in range(len(x)) for i in range(x.shape[1]) if there[m][i]]
        sets = [rows] if together else [[row for row in rows if row[0] == m] for m in range(len(x))]
        of_sets = []
        for members in sets:
            kernel = [
                torch.exp(-t * (direction(x[one]) - direction(x[other])).square().sum())
                for one, other in itertools.permutations(members, 2)
                if one[1] != other[1]
            ]
            if kernel:
                of_sets.append(mean(kernel, x).log())
        return mean(of_sets, x)

    return reference


VARIANTS: dict[str, tuple[Callable[[], Loss], Reference]] = {
    "info_nce": (lambda: InfoNCELoss(temperature=0.3), of_info_nce(False, 0.3)),
    "info_nce_class": (lambda: InfoNCELoss(temperature=0.2, positives="class"), of_info_nce(True, 0.2)),
    "alignment": (AlignmentLoss, of_cases(distance(2.0))),
    "alignment_root": (lambda: AlignmentLoss(alpha=0.5), of_cases(distance(0.5))),
    "uniformity": (UniformityLoss, of_uniformity(2.0, False)),
    "uniformity_all": (lambda: UniformityLoss(t=3.0, over="all"), of_uniformity(3.0, True)),
    "cosine": (ConsistencyLoss, of_cases(lambda f, g: 1 - direction(f) @ direction(g))),
    "mse": (lambda: ConsistencyLoss(kind="mse"), of_cases(lambda f, g: (direction(f) - direction(g)).square().mean())),
    "raw": (lambda: ConsistencyLoss(kind="mse", normalize=False), of_cases(lambda f, g: (f - g).square().mean())),
}
every_variant = pytest.mark.parametrize("name", VARIANTS)


def built(name: str, dtype: torch.dtype = torch.float64) -> Loss:
    return VARIANTS[name][0]().to(dtype)


Batch = tuple[Tensor, Tensor, Tensor]


def degenerate(kind: str) -> Batch:
    """Embeddings in float64 that float32 holds too, labels, presence."""
    inputs = batch_of(kind)
    x, present = (torch.stack(list(values.values())) for values in (inputs.embeddings, inputs.present))
    return x, inputs.targets["label"], present


def value_and_gradient(term: Loss, batch: Batch, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = batch[0].detach().clone().to(dtype).requires_grad_()
    value = term(x, *batch[1:])
    return value, torch.autograd.grad(value, x)[0]


def expected(name: str, batch: Batch) -> tuple[Tensor, Tensor]:
    x = batch[0].detach().clone().requires_grad_()
    value = VARIANTS[name][1](x, batch[1].tolist(), batch[2].tolist()) + (x * 0).sum()
    return value, torch.autograd.grad(value, x)[0]


@pytest.mark.slow
@every_variant
def test_matches_reference_on_degenerate_batches(name: str) -> None:
    """Value and gradient; a gradient scales with one over the length, and is compared in those units."""
    for kind in LABELS:
        batch = degenerate(kind)
        value, grad = value_and_gradient(built(name), batch)
        wanted, wanted_grad = expected(name, batch)
        assert value.item() == pytest.approx(wanted.item(), rel=1e-10, abs=1e-12), kind
        size = batch[0].abs().amax(-1, keepdim=True) if name != "raw" else 1.0
        torch.testing.assert_close(
            grad * size, wanted_grad * size, rtol=1e-9, atol=1e-10, msg=lambda m, k=kind: f"{k}: {m}"
        )


def test_half_precision_mse_computes_in_float32() -> None:
    x = torch.tensor([[[300.0]], [[-300.0]]], dtype=torch.float16)  # 600 squared is beyond float16
    assert ConsistencyLoss(kind="mse", normalize=False)(x).item() == 360000.0


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    m, b = draw(st.integers(2, 4)), draw(st.integers(1, 6))
    labels = torch.tensor(draw(st.lists(st.integers(-1, 2), min_size=b, max_size=b)))
    present = torch.tensor(draw(st.lists(st.booleans(), min_size=m * b, max_size=m * b))).view(m, b)
    g = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.randn(m, b, 3, generator=g, dtype=torch.float64), labels, present


@every_variant
@given(batch=batches())
@settings(max_examples=5)
def test_matches_reference_on_any_batch(name: str, batch: Batch) -> None:
    assert built(name)(*batch).item() == pytest.approx(expected(name, batch)[0].item(), rel=1e-10, abs=1e-12)


@given(batch=batches(), content=st.sampled_from([float("nan"), float("inf")]), seed=st.integers(0, 9))
@settings(max_examples=10)
def test_functions_ignore_masked_cases(batch: Batch, content: float, seed: int) -> None:
    """They need neither a loss module before them nor a stack of pairs."""
    x, labels, present = batch
    both = present[0] & present[1]
    spoilt = torch.where(both.unsqueeze(-1), x[:2], content).requires_grad_()
    first, second = spoilt
    for value, name in (
        (info_nce_loss(first, second, both, temperature=0.3), "info_nce"),
        (alignment_loss(first, second, both), "alignment"),
        (consistency_loss(first, second, both), "cosine"),
        (consistency_loss(first, second, both, kind="mse", normalize=False), "raw"),
        (uniformity_loss(spoilt, both.expand(2, -1)), "uniformity"),
    ):
        wanted = expected(name, (x[:2], labels, both.expand(2, -1)))
        assert value.item() == pytest.approx(wanted[0].item(), rel=1e-10, abs=1e-12)
        grad = torch.autograd.grad(value, spoilt)[0]
        torch.testing.assert_close(grad, wanted[1], rtol=1e-8, atol=1e-10)


# InfoNCE


def test_info_nce_matches_clip_loss() -> None:
    g = torch.Generator().manual_seed(0)
    image, text = torch.randn(2, 6, 5, generator=g, dtype=torch.float64)
    scores = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T / 0.07
    own = torch.arange(6)
    clip = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    found = InfoNCELoss()({"image": image, "text": text})
    assert found.item() == pytest.approx(clip.item(), rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_info_nce_direction_weights_match_clip(weight: float) -> None:
    image, text = torch.randn(2, 6, 5, dtype=torch.float64)
    scores = F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T / 0.07
    own = torch.arange(6)
    clip = weight * F.cross_entropy(scores, own) + (1 - weight) * F.cross_entropy(scores.T, own)
    found = InfoNCELoss(pairs=[("image", "text")], first_weight=weight)({"text": text, "image": image})
    assert found.item() == pytest.approx(clip.item(), rel=1e-12)


def test_info_nce_by_hand() -> None:
    """Two orthogonal cases whose modalities agree; a third of another length agrees with neither."""
    x = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    both = torch.tensor([True, True])
    found = info_nce_loss(x, 5 * x, both, temperature=0.5)
    assert found.item() == pytest.approx(math.log1p(math.exp(-2)))
    swapped = info_nce_loss(x, x.flip(0), both, temperature=0.5)
    assert swapped.item() == pytest.approx(math.log1p(math.exp(2)))


def test_info_nce_sums_positives_of_class() -> None:
    """Four cases, two classes, everything alike: half of the similarity is on the positives."""
    x, labels = torch.ones(2, 4, 3), torch.tensor([0, 0, 1, 1])
    assert InfoNCELoss(positives="class")(x, labels).item() == pytest.approx(math.log(2))
    assert InfoNCELoss()(x, labels).item() == pytest.approx(math.log(4))
    assert InfoNCELoss(positives="class")(x, torch.tensor([0, 0, 1, -1])).item() == pytest.approx(
        (2 * math.log(3 / 2) + math.log(3)) / 3
    )


def test_info_nce_ignores_pair_with_one_case() -> None:
    x, labels, present = degenerate("one_case_of_a_modality")
    assert InfoNCELoss()(x, labels, present).item() == InfoNCELoss(pairs=[("0", "2")])(x, labels, present).item()
    assert InfoNCELoss(pairs=[("0", "1")])(x, labels, present).item() == 0


def test_case_with_one_modality_is_ignored() -> None:
    """It is neither an anchor nor a negative."""
    x, labels, _ = degenerate("whole")
    present = torch.ones(2, 7, dtype=torch.bool)
    present[0, 1] = present[1, 4] = False
    for name in ("info_nce", "alignment", "cosine"):
        left = [0, 2, 3, 5, 6]
        alone = built(name)(x[:2, left], labels[left])
        assert built(name)(x[:2], labels, present).item() == pytest.approx(alone.item(), rel=1e-12)


def test_learned_temperature_gradcheck() -> None:
    x, _, present = degenerate("whole")
    term = InfoNCELoss(temperature=0.3, learn_temperature=True).double()
    assert [name for name, _ in term.named_parameters()] == ["temperature.theta"]
    term(x).backward()
    first, second, both = x[0], x[1], present[0]
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: info_nce_loss(first, second, both, temperature=t), (tau,))
    of_all = [info_nce_loss(x[i], x[j], both, temperature=tau) for i, j in ((0, 1), (0, 2), (1, 2))]
    (by_tau,) = torch.autograd.grad(sum(of_all) / 3, tau)
    assert term.temperature.theta.grad.item() == pytest.approx(by_tau.item() * 0.29, rel=1e-6)


# Alignment and uniformity


@pytest.mark.parametrize(("alpha", "value"), [(2.0, (2 + 0) / 2), (1.0, (2**0.5 + 0) / 2), (4.0, (4 + 0) / 2)])
def test_alignment_by_hand(alpha: float, value: float) -> None:
    """The first case's modalities are orthogonal, the second's have one direction."""
    first, second = torch.tensor([[1.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 7.0], [0.5, 0.5]])
    found = alignment_loss(first, second, torch.tensor([True, True]), alpha=alpha)
    assert found.item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("alpha", [0.01, 0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("apart", [0.0, 1e-30, 1e-21, 1e-18, 1e-9, 1e-4])
def test_alignment_gradient_at_zero_distance_is_finite(alpha: float, apart: float) -> None:
    x = torch.tensor([[[1.0, 0.0]], [[1.0, apart]]], requires_grad=True)
    value = AlignmentLoss(alpha=alpha)(x)
    value.backward()
    assert bool(x.grad.isfinite().all())
    if apart == 0:
        assert value.item() == 0
        assert not bool(x.grad.any())
    if apart == 1e-4:
        assert value.item() == pytest.approx(1e-4**alpha, rel=1e-3)
        assert x.grad[1, 0, 1].item() == pytest.approx(alpha * 1e-4 ** (alpha - 1), rel=1e-3)


def test_uniformity_by_hand() -> None:
    """Three directions: two the same, one opposite to them; 2 of 6 ordered pairs at distance 0, 4 at 2."""
    x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [-1.0, 0.0]]])
    expected_value = math.log((2 + 4 * math.exp(-0.5 * 4)) / 6)
    assert UniformityLoss(t=0.5)(x).item() == pytest.approx(expected_value, rel=1e-6)


def test_uniformity_over_all_ignores_pairs_within_a_case() -> None:
    """The first case's modalities are opposite, which has no effect; each is orthogonal to the second case."""
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, 1.0]]])
    assert UniformityLoss(over="all")(x).item() == pytest.approx(-4.0, rel=1e-6)
    # Here every pair of cases is one direction in one modality; the pairs across modalities are at right angles.
    x = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    assert UniformityLoss(over="each")(x).item() == pytest.approx(0.0, abs=1e-6)
    assert UniformityLoss(over="all")(x).item() == pytest.approx(math.log((1 + math.exp(-4)) / 2), rel=1e-5)


def test_uniformity_averages_modalities_with_two_cases() -> None:
    x, labels, present = degenerate("one_case_of_a_modality")
    found = UniformityLoss()(x, labels, present).item()
    alone = [UniformityLoss()(x[[m]]).item() for m in (0, 2)]
    assert found == pytest.approx(sum(alone) / 2, rel=1e-12)


def test_uniformity_of_a_steep_kernel_is_stable() -> None:
    x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    assert UniformityLoss(t=1e4)(x).item() == pytest.approx(-4e4, rel=1e-6)


# Consistency


def test_consistency_by_hand() -> None:
    """Modalities at 60 degrees, and a case whose second embedding is zero."""
    first = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[0.5, 3**0.5 / 2], [0.0, 0.0]])
    x = {"a": first, "b": second}
    assert ConsistencyLoss()(x).item() == pytest.approx((0.5 + 1) / 2, rel=1e-6)
    assert ConsistencyLoss(kind="mse")(x).item() == pytest.approx((1 / 2 + 1 / 2) / 2, rel=1e-6)
    raw = ((1.5**2 + 0.75) / 2 + 1 / 2) / 2
    assert ConsistencyLoss(kind="mse", normalize=False)(x).item() == pytest.approx(raw, rel=1e-6)


@given(batch=batches())
def test_normalized_mse_is_proportional_to_cosine(batch: Batch) -> None:
    x, labels, present = batch
    expected_value = 2 * ConsistencyLoss()(x, labels, present).item() / x.shape[-1]
    assert ConsistencyLoss(kind="mse")(x, labels, present).item() == pytest.approx(expected_value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("detach", [None, "first", "second"])
def test_detached_side_gets_no_gradient(detach: Any, normalize: bool) -> None:
    x, labels, present = degenerate("some_missing")
    options: dict[str, Any] = {"pairs": [["1", "0"]], "kind": "mse", "normalize": normalize}
    _, whole = value_and_gradient(ConsistencyLoss(**options), (x, labels, present))
    value, grad = value_and_gradient(ConsistencyLoss(**options, detach=detach), (x, labels, present))
    still = {None: None, "first": 1, "second": 0}[detach]
    assert value.item() == ConsistencyLoss(**options)(x, labels, present).item()
    for m in (0, 1):
        assert torch.equal(grad[m], torch.zeros_like(grad[m]) if m == still else whole[m])
        assert bool(whole[m].any())


# What they share


@pytest.mark.parametrize("name", ["info_nce", "alignment", "cosine", "mse", "raw"])
def test_pairs_select_modalities(name: str) -> None:
    """The mean over the named pairs, in any order of names."""
    x, labels, present = degenerate("whole")
    term = built(name)
    term.pairs = (("2", "0"), ("1", "2"))
    of_pairs = [expected(name, (x[pair], labels, present[pair]))[0].item() for pair in ([0, 2], [1, 2])]
    assert term(x, labels, present).item() == pytest.approx(sum(of_pairs) / 2, rel=1e-10)


def test_created_by_name_with_options_from_settings() -> None:
    x, labels, _ = degenerate("whole")
    named = dict(zip("abc", x))
    built_terms = {
        "info_nce": {
            "pairs": [["a", "b"]],
            "temperature": 0.1,
            "learn_temperature": True,
            "positives": "class",
            "first_weight": 0.25,
        },
        "alignment": {"pairs": [["a", "b"]], "alpha": 1.0},
        "uniformity": {"t": 1.0, "over": "all"},
        "consistency": {"pairs": [["a", "b"]], "kind": "mse", "normalize": False, "detach": "first"},
    }
    for name, options in built_terms.items():
        term = registry.losses.create(name, **options)
        assert set(registry.losses.options(name)) == set(options)
        assert bool(term(loss_inputs(named, labels)).isfinite())
        shown = [f"{key}={value!r}" for key, value in options.items() if key not in ("pairs", "learn_temperature")]
        assert all(text in repr(term) or "temperature" in text for text in shown)
    assert registry.losses.create("info_nce", pairs=[["a", "b"]]).pairs == (("a", "b"),)


X = torch.ones(2, 3, 4)
BOTH = torch.ones(3, dtype=torch.bool)
RIGHT = (X[0], X[1], BOTH)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: InfoNCELoss(temperature=0.0), "temperature expects float from 0.0001 to 10000, got 0.0"),
        (
            lambda: info_nce_loss(*RIGHT, temperature=-1.0),
            "temperature expects float from 0.0001 to 10000 or Tensor, got -1.0",
        ),
        (lambda: InfoNCELoss(first_weight=1.5), "first_weight expects float from 0 to 1, got 1.5"),
        (
            lambda: info_nce_loss(*RIGHT, temperature=1.0, first_weight=-0.5),
            "first_weight expects float from 0 to 1, got -0.5",
        ),
        (lambda: InfoNCELoss(positives="label"), "positives expects one of case, class, got 'label'"),
        (lambda: InfoNCELoss(positives="class")(X), "labels are needed with embeddings"),
        (
            lambda: InfoNCELoss(positives="class")(X, BOTH.float()),
            r"labels must be int64 of shape \(3,\), got torch.float",
        ),
        (lambda: InfoNCELoss()(X[:1]), r"embeddings of at least two modalities, got \['0'\]"),
        (lambda: InfoNCELoss(pairs=[("0", "x")])(X), r"unknown embeddings \['x'\], expected some of \['0', '1'\]"),
        (lambda: AlignmentLoss(pairs=[("x", "0")])(X), r"unknown embeddings \['x'\], expected some of \['0', '1'\]"),
        (lambda: ConsistencyLoss(pairs=[("x", "0")])(X), r"unknown embeddings \['x'\], expected some of \['0', '1'\]"),
        (lambda: InfoNCELoss(pairs=[]), "pairs must not be empty"),
        (lambda: InfoNCELoss(pairs=["ab"]), r"pairs expects a list .*, got \['ab'\]"),
        (lambda: AlignmentLoss(pairs=[("a", "a")]), r"two different names.*got \('a', 'a'\)"),
        (lambda: ConsistencyLoss(pairs=[("a", "b", "c")]), r"pairs expects a list .*, got \[\('a', 'b', 'c'\)\]"),
        (lambda: AlignmentLoss(alpha=0.0), "alpha expects float above 0 to 1000000, got 0.0"),
        (lambda: alignment_loss(*RIGHT, alpha=float("nan")), "alpha expects float above 0 to 1000000, got nan"),
        (lambda: UniformityLoss(t=-1.0), "t expects float above 0 to 1000000, got -1.0"),
        (lambda: uniformity_loss(X, BOTH.expand(2, 3), t=float("inf")), "t expects float above 0 to 1000000, got inf"),
        (lambda: UniformityLoss(over="one"), "over expects one of each, all, got 'one'"),
        (lambda: uniformity_loss(X, BOTH.expand(2, 3), over="one"), "over expects one of each, all"),
        (lambda: uniformity_loss(X, BOTH), r"present must be bool of shape \(2, 3\), got torch.bool \(3,\)"),
        (lambda: uniformity_loss(X.long(), BOTH.expand(2, 3)), "floating point.*torch.int64"),
        (lambda: ConsistencyLoss(kind="l1"), "kind expects one of cosine, mse, got 'l1'"),
        (lambda: consistency_loss(*RIGHT, kind="l1"), "kind expects one of cosine, mse"),
        (lambda: ConsistencyLoss(normalize=False), "a cosine is that of directions: normalize=False needs kind='mse'"),
        (lambda: consistency_loss(*RIGHT, normalize=False), "normalize=False needs kind='mse'"),
        (lambda: ConsistencyLoss(detach="first"), "detach='first' needs pairs="),
        (
            lambda: ConsistencyLoss(detach="both", pairs=[("0", "1")]),
            "detach expects one of first, second or none, got 'both'",
        ),
        (lambda: alignment_loss(X[0], X[1, :2], BOTH), r"second side .* \(3, 4\), got torch.float32 \(2, 4\)"),
        (lambda: alignment_loss(X[0], X[1].long(), BOTH), "second side must be floating point.*got torch.int64"),
        (lambda: alignment_loss(X[0], X[1], BOTH.float()), r"both must be bool of shape \(3,\), got torch.float32"),
        (lambda: consistency_loss(X[0], X[1], BOTH[:2]), r"both must be bool of shape \(3,\), got torch.bool \(2,\)"),
    ],
)
def test_invalid_options_and_inputs_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_boundary_options_and_inputs_are_accepted() -> None:
    labels = torch.tensor([0, 1, 0])
    for term in (
        InfoNCELoss(pairs=[("0", "1")], positives="class"),
        AlignmentLoss(),
        UniformityLoss(),
        ConsistencyLoss(),
    ):
        assert term(X, labels).shape == ()
    for value in (info_nce_loss(*RIGHT, temperature=1.0), alignment_loss(*RIGHT), consistency_loss(*RIGHT, kind="mse")):
        assert value.shape == ()
