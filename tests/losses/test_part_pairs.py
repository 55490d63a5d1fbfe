"""Independence and orthogonality: their formulas, which cases and parts count, degenerate batches, number formats."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from helpers.anchor_reference import direction
from helpers.loss_choices import LABELS
from helpers.loss_choices import batch as batch_of
from mmfusion import registry
from mmfusion.losses import Loss, unit
from mmfusion.losses.hsic import HSICLoss, hsic_loss
from mmfusion.losses.inputs import loss_inputs
from mmfusion.losses.orthogonality import OrthogonalityLoss, orthogonality_loss

# The formulas, a vector and a pair of cases at a time, in float64.


def kernel_matrix(rows: list[Tensor], bandwidth: float | None) -> Tensor:
    n = len(rows)
    squares = [(rows[i] - rows[j]).square().sum().item() for i, j in itertools.combinations(range(n), 2)]
    differ = [square for square in squares if square > 1e-12 * max(squares)]
    median = statistics.median(differ) if differ else 1.0
    twice = 2 * (median if bandwidth is None else bandwidth**2)
    k = [[torch.exp(-(one - other).square().sum() / twice) for other in rows] for one in rows]
    return torch.stack([torch.stack(row) for row in k])


def of_hsic(first: list[Tensor], second: list[Tensor], kernel: str, bandwidth: float | None, cka: bool) -> Tensor:
    n = len(first)
    centring = torch.eye(n, dtype=torch.float64) - torch.full((n, n), 1 / n, dtype=torch.float64)

    def matrix(rows: list[Tensor]) -> Tensor:
        if kernel == "rbf":
            return kernel_matrix(rows, bandwidth)
        return torch.stack([torch.stack([one @ other for other in rows]) for one in rows])

    def criterion(k: Tensor, el: Tensor) -> Tensor:
        return torch.trace(k @ centring @ el @ centring) / (n - 1) ** 2

    k, el = matrix(first), matrix(second)
    if not cka:
        return criterion(k, el)
    own = criterion(k, k) * criterion(el, el)
    return criterion(k, el) / own.sqrt() if own.item() > 1e-20 else own * 0


def of_difference(first: list[Tensor], second: list[Tensor]) -> Tensor:
    n, total = len(first), torch.zeros((), dtype=torch.float64)
    for column in range(len(first[0])):
        for other in range(len(second[0])):
            total = total + sum(f[column] * s[other] for f, s in zip(first, second)) ** 2
    return total / n**2


def of_cosine(first: list[Tensor], second: list[Tensor]) -> Tensor:
    return torch.stack([(f @ s) ** 2 for f, s in zip(first, second)]).mean()


Formula = Callable[[list[Tensor], list[Tensor]], Tensor]
# The term, its formula from the directions of the cases with both, and how many cases it needs.
VARIANTS: dict[str, tuple[Callable[[], Loss], Formula, int]] = {
    "hsic": (HSICLoss, lambda a, b: of_hsic(a, b, "rbf", None, False), 2),
    "hsic_fixed": (lambda: HSICLoss(bandwidth=0.7), lambda a, b: of_hsic(a, b, "rbf", 0.7, False), 2),
    "hsic_linear": (lambda: HSICLoss(kernel="linear"), lambda a, b: of_hsic(a, b, "linear", None, False), 2),
    "cka": (lambda: HSICLoss(cka=True), lambda a, b: of_hsic(a, b, "rbf", None, True), 2),
    "cka_linear": (lambda: HSICLoss(kernel="linear", cka=True), lambda a, b: of_hsic(a, b, "linear", None, True), 2),
    "difference": (OrthogonalityLoss, of_difference, 1),
    "cosine": (lambda: OrthogonalityLoss(kind="cosine"), of_cosine, 1),
}
every_variant = pytest.mark.parametrize("name", VARIANTS)

Batch = tuple[Tensor, Tensor]


def degenerate(kind: str) -> Batch:
    """Embeddings and presence."""
    inputs = batch_of(kind)
    x, present = (torch.stack(list(values.values())) for values in (inputs.embeddings, inputs.present))
    return x, present


def value_and_gradient(term: Loss, batch: Batch, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = batch[0].detach().clone().to(dtype).requires_grad_()
    value = term(x, None, batch[1])
    return value, torch.autograd.grad(value, x)[0]


def expected(name: str, batch: Batch) -> tuple[Tensor, Tensor]:
    _, formula, least = VARIANTS[name]
    x = batch[0].detach().clone().requires_grad_()
    values = []
    for one, other in itertools.combinations(range(len(x)), 2):
        cases = [i for i in range(x.shape[1]) if batch[1][one, i] and batch[1][other, i]]
        if len(cases) >= least:
            values.append(formula(*([direction(x[m, i]) for i in cases] for m in (one, other))))
    value = (torch.stack(values).mean() if values else 0.0) + (x * 0).sum()
    return value, torch.autograd.grad(value, x)[0]


@pytest.mark.slow
@every_variant
def test_matches_reference_on_degenerate_batches(name: str) -> None:
    """Value and gradient; a gradient scales with one over the length, and is compared in those units."""
    for kind in LABELS:
        batch = degenerate(kind)
        value, grad = value_and_gradient(VARIANTS[name][0](), batch)
        wanted, wanted_grad = expected(name, batch)
        assert value.item() == pytest.approx(wanted.item(), rel=1e-10, abs=1e-12), kind
        size = batch[0].abs().amax(-1, keepdim=True)
        torch.testing.assert_close(
            grad * size, wanted_grad * size, rtol=1e-8, atol=1e-10, msg=lambda m, k=kind: f"{k}: {m}"
        )


@pytest.mark.parametrize("options", [{}, {"kernel": "linear", "cka": True}])
def test_half_precision_is_computed_in_float32(options: dict[str, Any]) -> None:
    first, second = torch.randn(5, 3).half(), torch.randn(5, 4).half()
    mask = torch.tensor([True, True, False, True, True])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, apart = hsic_loss(first, second, mask, **options), orthogonality_loss(first, second, mask)
    assert torch.equal(found, hsic_loss(first.float(), second.float(), mask, **options))
    assert torch.equal(apart, orthogonality_loss(first.float(), second.float(), mask))


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    m, b = draw(st.integers(2, 3)), draw(st.integers(1, 6))
    present = torch.tensor(draw(st.lists(st.booleans(), min_size=m * b, max_size=m * b))).view(m, b)
    g = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    return torch.randn(m, b, 3, generator=g, dtype=torch.float64), present


# HSIC


@st.composite
def sides(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Two of different width, and which cases count."""
    n = draw(st.integers(1, 7))
    g = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    first, second = (torch.randn(n, d, generator=g, dtype=torch.float64) for d in (3, 2))
    return first, second, torch.tensor(draw(st.lists(st.booleans(), min_size=n, max_size=n)))


OPTIONS: list[dict[str, Any]] = [
    {"kernel": kernel, "bandwidth": bandwidth, "cka": cka}
    for kernel, bandwidth in (("rbf", None), ("rbf", 0.9), ("linear", None))
    for cka in (False, True)
]


@pytest.mark.parametrize("options", OPTIONS)
@given(given_sides=sides(), content=st.sampled_from([float("nan"), float("inf"), 0.0]))
@settings(max_examples=6)
def test_hsic_matches_reference(options: dict[str, Any], given_sides: Any, content: float) -> None:
    """Embeddings of any length and width, whatever the content of masked cases."""
    *both, mask = given_sides
    both = [torch.where(mask.unsqueeze(-1), 3 * x, content).requires_grad_() for x in both]
    found = hsic_loss(*both, mask, **options)
    cases = mask.nonzero().flatten().tolist()
    if len(cases) < 2:
        wanted = torch.zeros((), dtype=torch.float64, requires_grad=True) * 1
    else:
        wanted = of_hsic(*([x[i] for i in cases] for x in both), **options)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-10, abs=1e-12)
    grads = torch.autograd.grad(found, both)
    wanted_grads = torch.autograd.grad(wanted, both, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(grads, wanted_grads, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("options", OPTIONS)
@given(given_sides=sides(), seed=st.integers(0, 10**6))
@settings(max_examples=6)
def test_hsic_invariances(options: dict[str, Any], given_sides: Any, seed: int) -> None:
    first, second, mask = given_sides
    value = hsic_loss(first, second, mask, **options).item()
    wanted = pytest.approx(value, rel=1e-9, abs=1e-11)
    g = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64))[0]
    assert hsic_loss(second, first, mask, **options).item() == wanted
    assert hsic_loss(first @ turn + 5, second - 2, mask, **options).item() == wanted
    if options["bandwidth"] is None and (options["cka"] or options["kernel"] == "rbf"):
        assert hsic_loss(1e3 * first, 1e-3 * second, mask, **options).item() == wanted
    assert value >= -1e-12
    if options["cka"]:
        assert value <= 1 + 1e-12
        some = int(mask.sum()) >= 2
        assert hsic_loss(first, first, mask, **options).item() == pytest.approx(1.0 if some else 0.0)


def test_hsic_by_hand() -> None:
    both = torch.tensor([True, True])
    first, second = torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [4.0]])
    # Covariance (-1 * -2 + 1 * 2) / 1 = 4, squared.
    assert hsic_loss(first, second, both, kernel="linear").item() == pytest.approx(16.0)
    # H K H is (1 - k) / 2 times [[1, -1], [-1, 1]].
    k, el = math.exp(-4 / 2), math.exp(-16 / 2)
    assert hsic_loss(first, second, both, bandwidth=1.0).item() == pytest.approx((1 - k) * (1 - el), rel=1e-6)
    # The only distance is the median: both kernels are exp(-1/2).
    assert hsic_loss(first, second, both).item() == pytest.approx((1 - math.exp(-0.5)) ** 2, rel=1e-6)
    assert hsic_loss(first, second, both, cka=True).item() == pytest.approx(1.0)


def test_rbf_hsic_detects_nonlinear_dependence() -> None:
    x = torch.tensor([[-1.0], [0.0], [1.0]])
    mask = torch.ones(3, dtype=torch.bool)
    assert hsic_loss(x, x.square(), mask, kernel="linear").item() == pytest.approx(0.0, abs=1e-7)
    assert hsic_loss(x, x.square(), mask).item() > 0.02


def test_hsic_of_independent_variables_falls_with_n() -> None:
    g = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 256, 1, generator=g)
    mask = torch.ones(256, dtype=torch.bool)
    independent, dependent = hsic_loss(first, second, mask), hsic_loss(first, first.square(), mask)
    few = hsic_loss(first[:8], second[:8], mask[:8])
    assert independent < few / 5
    assert independent < dependent / 5


@pytest.mark.parametrize(
    ("at", "bandwidth"),
    [
        ([0.0, 1.0, 3.0], 2.0),  # 1, 2, 3
        ([0.0, 0.0, 0.0, 2.0], 2.0),  # of the six distances three are 0, which do not count
        ([0.0, 1.0, 3.0, 7.0], math.sqrt((9 + 16) / 2)),  # squares 1, 4, 9, 16, 36, 49: between 9 and 16
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bandwidth_is_median_of_nonzero_distances(at: list[float], bandwidth: float, dtype: torch.dtype) -> None:
    x = torch.tensor(at, dtype=dtype).unsqueeze(-1)
    other = torch.randn(len(x) + 2, 2, dtype=dtype)
    # Two more that do not count, far away.
    x, mask = torch.cat([x, x.new_full((2, 1), 1e3)]), torch.arange(len(x) + 2) < len(x)
    assert hsic_loss(x, other, mask, kernel="rbf", cka=True).item() == pytest.approx(
        _with_bandwidths(x, other, mask, bandwidth), rel=1e-5
    )


def _with_bandwidths(x: Tensor, other: Tensor, mask: Tensor, bandwidth: float) -> float:
    """The other side with the bandwidth it finds; scaled instead, so that one bandwidth is right for both."""
    squares = sorted(
        (other[i] - other[j]).square().sum().item() for i, j in itertools.combinations(mask.nonzero().flatten(), 2)
    )
    scale = bandwidth / math.sqrt(statistics.median(squares))
    return hsic_loss(x, other * scale, mask, bandwidth=bandwidth, cka=True).item()


def nearly_alike() -> Tensor:
    """Twelve cases that differ by rounding, and four that do not."""
    x = torch.randn(16, 40)
    x[1:12] = x[0] * (1 + 1e-7 * torch.randn(11, 40))
    return x


def test_bandwidth_ignores_rounding_noise() -> None:
    x, mask = nearly_alike(), torch.ones(16, dtype=torch.bool)
    assert len(x.unique(dim=0)) == 16
    squares = [(x[i] - x[j]).square().sum().item() for i, j in itertools.combinations(range(16), 2)]
    bandwidth = math.sqrt(statistics.median([square for square in squares if square > 1e-6]))
    assert bandwidth > 1
    assert hsic_loss(x, x, mask).item() == pytest.approx(hsic_loss(x, x, mask, bandwidth=bandwidth).item(), rel=1e-4)


@pytest.mark.parametrize("bandwidth", [1e-6, 1e-3, 1.0])
def test_rbf_kernel_is_at_most_1_despite_rounding(bandwidth: float) -> None:
    """A squared distance below 0 would make the exponential unbounded."""
    x = 100 * nearly_alike().requires_grad_()
    found = hsic_loss(x, x, torch.ones(16, dtype=torch.bool), bandwidth=bandwidth)
    assert 0 <= found.item() <= 16
    assert bool(torch.autograd.grad(found, x)[0].isfinite().all())


def test_bandwidth_gets_no_gradient() -> None:
    """With a gradient through it, a change of scale would have none at all."""
    x = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    hsic_loss(x, torch.randn(5, 2, dtype=torch.float64), torch.ones(5, dtype=torch.bool)).backward()
    assert abs((x.grad * x.detach()).sum().item()) > 1e-4


def test_distances_far_from_origin_are_precise() -> None:
    x = 100 + torch.randn(6, 4)
    y, mask = torch.randn(6, 4), torch.ones(6, dtype=torch.bool)
    for options in OPTIONS:
        exact = hsic_loss(x.double(), y.double(), mask, **options).item()
        assert hsic_loss(x, y, mask, **options).item() == pytest.approx(exact, rel=1e-4)


def test_nearly_flat_kernel_is_precise() -> None:
    x, y, mask = torch.randn(6, 4), torch.randn(6, 4), torch.ones(6, dtype=torch.bool)
    for cka in (True, False):
        exact = hsic_loss(x.double(), y.double(), mask, bandwidth=1e4, cka=cka).item()
        assert hsic_loss(x, y, mask, bandwidth=1e4, cka=cka).item() == pytest.approx(exact, rel=1e-4, abs=0)


def test_invariant_to_large_constant_column() -> None:
    x, mask = torch.randn(6, 2), torch.ones(6, dtype=torch.bool)
    y = torch.randn(6, 2)
    wide = torch.cat([torch.full((6, 1), 1e7), x], 1)
    assert hsic_loss(wide, y, mask).item() == pytest.approx(hsic_loss(x, y, mask).item(), rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("value", [0.1, 1e-20, 3e5])
def test_constant_side_gives_zero(options: dict[str, Any], value: float) -> None:
    """Not the rounding noise of its mean, amplified."""
    x = torch.full((7, 3), value, requires_grad=True)
    found = hsic_loss(x, torch.randn(7, 3), torch.ones(7, dtype=torch.bool), **options)
    found.backward()
    assert found.item() == 0
    assert not bool(x.grad.any())


@pytest.mark.parametrize("name", [name for name in VARIANTS if VARIANTS[name][2] == 2])
def test_multiples_of_one_direction_give_zero(name: str) -> None:
    """Their directions differ by rounding."""
    x = torch.randn(2, 7, 5)
    x[0] = x[0, 0] * torch.tensor([1.0, 3.0, 0.7, 11.0, 1e-3, 0.1, 1e5]).unsqueeze(-1)
    assert len(unit(x[0]).unique(dim=0)) > 1
    assert VARIANTS[name][0]()(x).item() == 0


# Orthogonality


def test_orthogonality_by_hand() -> None:
    first = torch.tensor([[3.0, 0.0], [0.0, 2.0]])
    mask = torch.tensor([True, True])
    # The same: |I|_F^2 / 4, and each cosine is 1.
    assert orthogonality_loss(first, first, mask).item() == pytest.approx(0.5)
    assert orthogonality_loss(first, first, mask, kind="cosine").item() == pytest.approx(1.0)
    # Each case orthogonal to its other part, but not the columns over the cases.
    swapped = torch.tensor([[0.0, 5.0], [1.0, 0.0]])
    assert orthogonality_loss(first, swapped, mask, kind="cosine").item() == pytest.approx(0.0)
    assert orthogonality_loss(first, swapped, mask).item() == pytest.approx(0.5)
    # One direction in all cases is as far from orthogonal as can be.
    assert orthogonality_loss(torch.ones(2, 3), torch.ones(2, 5), mask).item() == pytest.approx(1.0)
    # Columns (1, 1) and (1, -1) are orthogonal.
    assert orthogonality_loss(torch.ones(2, 1), torch.tensor([[1.0], [-4.0]]), mask).item() == pytest.approx(0.0)


@pytest.mark.parametrize("kind", ["difference", "cosine"])
def test_orthogonality_is_invariant_to_batch_size(kind: Any) -> None:
    first, second = torch.randn(2, 4, 3)
    once = orthogonality_loss(first, second, torch.ones(4, dtype=torch.bool), kind=kind).item()
    twice = orthogonality_loss(
        first.repeat(2, 1), second.repeat(2, 1), torch.ones(8, dtype=torch.bool), kind=kind
    ).item()
    assert twice == pytest.approx(once, rel=1e-5)


@given(given_sides=sides(), content=st.sampled_from([float("nan"), float("inf"), 1e30]))
def test_orthogonality_ignores_masked_cases(given_sides: Any, content: float) -> None:
    first, second, mask = given_sides
    sides_ = [torch.where(mask.unsqueeze(-1), x, content).requires_grad_() for x in (first, second)]
    found = orthogonality_loss(*sides_, mask)
    cases = mask.nonzero().flatten().tolist()
    wanted = of_difference(*([direction(x[i]) for i in cases] for x in (first, second))).item() if cases else 0.0
    assert found.item() == pytest.approx(wanted, rel=1e-10, abs=1e-12)
    assert 0 <= found.item() <= 1 + 1e-12
    assert all(bool(grad.isfinite().all()) for grad in torch.autograd.grad(found, sides_))


# Which parts


def of_parts(term: Loss, aux: Mapping[str, Tensor] | None = None, present: Any = None) -> float:
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(5))
    return term(loss_inputs({"ct": x[0], "ct.late": x[1]}, None, present, aux)).item()


def test_aux_parts_of_other_width() -> None:
    g = torch.Generator().manual_seed(5)
    embedding = torch.randn(2, 6, 4, generator=g)[0]
    aux = {"ct.shared": torch.randn(6, 2, generator=g), "ct.specific": torch.randn(6, 3, generator=g)}
    mask = torch.ones(6, dtype=torch.bool)
    found = of_parts(HSICLoss(parts=[("ct.shared", "ct.specific"), ("ct", "ct.shared")]), aux)
    directions = {name: unit(x) for name, x in (aux | {"ct": embedding}).items()}
    one = hsic_loss(directions["ct.shared"], directions["ct.specific"], mask)
    two = hsic_loss(directions["ct"], directions["ct.shared"], mask)
    assert found == pytest.approx(((one + two) / 2).item(), rel=1e-6)
    raw = of_parts(HSICLoss(parts=[("ct.shared", "ct.specific")], normalize=False, kernel="linear"), aux)
    assert raw == pytest.approx(hsic_loss(aux["ct.shared"], aux["ct.specific"], mask, kernel="linear").item())
    apart = of_parts(OrthogonalityLoss(parts=[("ct.shared", "ct.specific")]), aux)
    assert apart == pytest.approx(orthogonality_loss(aux["ct.shared"], aux["ct.specific"], mask).item())


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("ct.shared", [True, True, True, False, True, True]),
        ("ct.late.shared", [True, False, True, True, True, True]),  # the longer name is the modality's
        ("ctx", [True] * 6),
        ("shared", [True] * 6),
        ("mr.shared", [True, True, True, True, False, True]),  # a modality without an embedding
    ],
)
def test_presence_of_part_follows_its_modality(name: str, there: list[bool]) -> None:
    present = {
        "ct": torch.tensor([True, True, True, False, True, True]),
        "ct.late": torch.tensor([True, False, True, True, True, True]),
        "mr": torch.tensor([True, True, True, True, False, True]),
    }
    part, other = torch.randn(6, 3), torch.randn(6, 3)
    spoilt = torch.where(torch.tensor(there).unsqueeze(-1), part, float("nan"))
    found = of_parts(HSICLoss(parts=[(name, "other")]), {name: spoilt, "other": other}, present)
    assert found == pytest.approx(hsic_loss(unit(part), unit(other), torch.tensor(there)).item(), rel=1e-5)


def test_embedding_takes_precedence_over_aux() -> None:
    term = HSICLoss(parts=[("ct", "ct.late")])
    assert of_parts(term, {"ct": torch.randn(6, 2)}) == of_parts(HSICLoss())


class _Aux(Mapping[str, Tensor]):
    """An entry that is looked at costs something."""

    def __init__(self) -> None:
        self.looked_at: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.looked_at.append(name)
        return torch.ones(6, 2)

    def __iter__(self) -> Iterator[str]:
        return iter(("a", "b", "large"))

    def __len__(self) -> int:
        return 3


def test_reads_only_requested_parts() -> None:
    aux = _Aux()
    of_parts(HSICLoss(parts=[("a", "b"), ("ct", "a")]), aux)
    assert sorted(aux.looked_at) == ["a", "b"]


@every_variant
def test_pair_with_too_few_cases_is_ignored(name: str) -> None:
    x, present = degenerate("one_case_of_a_modality")
    present[1, 0] = VARIANTS[name][2] == 2
    term = VARIANTS[name][0]()
    found = term(x, None, present).item()
    term.parts = (("0", "2"),)
    assert found == term(x, None, present).item() > 0


def test_created_by_name_with_options_from_settings() -> None:
    built = {
        "hsic": {"parts": [["0", "1"]], "kernel": "rbf", "bandwidth": 0.5, "cka": True, "normalize": False},
        "orthogonality": {"parts": [["0", "1"]], "kind": "cosine"},
    }
    x = torch.randn(2, 4, 3)
    for name, options in built.items():
        term = registry.losses.create(name, **options)
        assert set(registry.losses.options(name)) == set(options)
        assert term.parts == (("0", "1"),)
        assert bool(term(x).isfinite())
        assert all(f"{key}={value!r}" in repr(term) for key, value in options.items() if key != "parts")


X = torch.ones(2, 3, 4)
MASK = torch.ones(3, dtype=torch.bool)
NAMED = {"a": X[0], "b": X[1]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HSICLoss(kernel="poly"), "kernel expects one of rbf, linear, got 'poly'"),
        (lambda: hsic_loss(X[0], X[1], MASK, kernel="poly"), "kernel expects one of rbf, linear"),
        (lambda: HSICLoss(bandwidth=0.0), "bandwidth expects float above 0 to 1000000 or none, got 0.0"),
        (
            lambda: hsic_loss(X[0], X[1], MASK, bandwidth=float("nan")),
            "bandwidth expects float above 0 to 1000000 or none, got nan",
        ),
        (
            lambda: HSICLoss(kernel="linear", bandwidth=1.0),
            "a bandwidth is that of the rbf kernel, got 1.0 for 'linear'",
        ),
        (
            lambda: hsic_loss(X[0], X[1, :2], MASK),
            r"the second side must be floating point of shape \(3, e\), got torch.float32 \(2, 4\)",
        ),
        (lambda: hsic_loss(X, X[1], MASK), r"got torch.float32 \(2, 3, 4\)"),
        (lambda: hsic_loss(X[0].long(), X[1], MASK), "must be floating point.*got torch.int64"),
        (lambda: hsic_loss(X[0], X[1], MASK.float()), r"mask must be bool of shape \(3,\), got torch.float32"),
        (lambda: orthogonality_loss(X[0], X[1], MASK[:2]), r"mask must be bool of shape \(3,\), got torch.bool \(2,\)"),
        (lambda: orthogonality_loss(X[0], X[1, :2], MASK), r"second side must be .* of shape \(3, e\)"),
        (lambda: OrthogonalityLoss(kind="l2"), "kind expects one of difference, cosine, got 'l2'"),
        (lambda: orthogonality_loss(X[0], X[1], MASK, kind="l2"), "kind expects one of difference, cosine"),
        (
            lambda: orthogonality_loss(X[0], X[1, :, :2], MASK, kind="cosine"),
            r"parts of one width, got \(3, 4\) and \(3, 2\)",
        ),
        (lambda: HSICLoss(parts=[]), "parts must not be empty"),
        (lambda: OrthogonalityLoss(parts=[("a", "a")]), "parts must be pairs of two different names"),
        (lambda: HSICLoss()({"a": X[0]}), r"embeddings of at least two modalities, got \['a'\]: name the parts"),
        (
            lambda: HSICLoss(parts=[("a", "x")])(NAMED, aux={"y": X[0]}),
            r"unknown parts \['x'\], expected some of the embeddings \['a', 'b'\] and of aux \['y'\]",
        ),
        (
            lambda: HSICLoss()({"a": X[0], "b": X[1, :2]}),
            r"parts must have one row per case, got 'a' \(3, 4\), 'b' \(2, 4\)",
        ),
        (lambda: HSICLoss(parts=[("a", "y")])(NAMED, aux={"y": X}), r"'y' must be .*, got torch.float32 \(2, 3, 4\)"),
        (lambda: HSICLoss(parts=[("a", "y")])(NAMED, aux={"y": MASK}), r"'y' must be .*, got torch.bool \(3,\)"),
        (lambda: HSICLoss()(NAMED, present={"b": MASK[:2]}), r"present\['b'\] must be bool of shape \(3,\)"),
    ],
)
def test_invalid_options_and_inputs_raise(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_boundary_options_and_inputs_are_accepted() -> None:
    for term in (HSICLoss(bandwidth=1.0), HSICLoss(kernel="linear"), OrthogonalityLoss(parts=[("a", "y")])):
        assert term(NAMED, aux={"y": X[0]}, present={"b": MASK}).shape == ()
    assert hsic_loss(X[0], X[1], MASK).shape == orthogonality_loss(X[0], X[1, :, :2], MASK).shape == ()
