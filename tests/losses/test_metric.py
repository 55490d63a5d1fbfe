"""pytorch-metric-learning's losses as terms: their formulas, the rows that they see, their memories, their limits."""

import copy
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning import distances, miners, reducers
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.utils.distributed import DistributedLossWrapper
from torch import Tensor, nn

import mmfusion as mmf
from helpers.metric_cases import steps, train
from helpers.processes import together
from mmfusion.losses import LossBank
from mmfusion.losses.metric import MetricLoss
from mmfusion.losses.pml import accepts
from mmfusion.tokens import LossInputs

DIM, N_CLASSES = 4, 3
NAN = float("nan")

# Every loss of PML that can be built by name, with what it must be told for embeddings of width d.
NEEDS: dict[str, Callable[[int], dict[str, Any]]] = {
    **dict.fromkeys(
        (
            "AngularLoss",
            "CircleLoss",
            "ContrastiveLoss",
            "DynamicSoftMarginLoss",
            "FastAPLoss",
            "GeneralizedLiftedStructureLoss",
            "HistogramLoss",
            "InstanceLoss",
            "IntraPairVarianceLoss",
            "LiftedStructureLoss",
            "MarginLoss",
            "MultiSimilarityLoss",
            "NCALoss",
            "NPairsLoss",
            "NTXentLoss",
            "PNPLoss",
            "SignalToNoiseRatioContrastiveLoss",
            "SmoothAPLoss",
            "SupConLoss",
            "ThresholdConsistentMarginLoss",
            "TripletMarginLoss",
            "TupletMarginLoss",
            "VICRegLoss",
        ),
        lambda d: {},
    ),
    **dict.fromkeys(
        (
            "ArcFaceLoss",
            "CosFaceLoss",
            "LargeMarginSoftmaxLoss",
            "NormalizedSoftmaxLoss",
            "ProxyAnchorLoss",
            "ProxyNCALoss",
            "SoftTripleLoss",
            "SphereFaceLoss",
            "SubCenterArcFaceLoss",
        ),
        lambda d: {"embedding_size": d},
    ),
    "CrossBatchMemory": lambda d: {"loss": pml.NTXentLoss(), "embedding_size": d, "memory_size": 64},
    "ManifoldLoss": lambda d: {"l": d, "K": 3},
    "MultipleLosses": lambda d: {"losses": [pml.SupConLoss(), pml.TripletMarginLoss()]},
    "P2SGradLoss": lambda d: {"descriptors_dim": d},
    "RankedListLoss": lambda d: {"margin": 0.4, "Tn": 1},
    "SelfSupervisedLoss": lambda d: {"loss": pml.NTXentLoss()},
}
WITHOUT_LABELS = ("ManifoldLoss", "SelfSupervisedLoss", "VICRegLoss")
NAMES = [name for name in NEEDS if hasattr(pml, name)]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


# The formulas, anchor by anchor, on rows that are of length 1


def cosines(anchor: Tensor, others: list[Tensor]) -> Tensor:
    return torch.stack([anchor @ other for other in others]) if others else anchor.new_zeros(0)


def mean_of_positive(values: list[Tensor]) -> Tensor:
    counted = [value for value in values if value > 0]
    return torch.stack(counted).mean() if counted else torch.zeros((), dtype=torch.float64)


Related = list[tuple[Tensor, list[Tensor], list[Tensor]]]  # each anchor with its positives and its negatives


def supcon(related: Related, temperature: float = 0.1) -> Tensor:
    values = []
    for anchor, positives, negatives in related:
        if positives:
            s = cosines(anchor, positives + negatives) / temperature
            values.append(s.logsumexp(0) - s[: len(positives)].mean())
    return mean_of_positive(values)


def nt_xent(related: Related, temperature: float = 0.07) -> Tensor:
    values = []
    for anchor, positives, negatives in related:
        for positive in positives:
            s = cosines(anchor, [positive, *negatives]) / temperature
            values.append(s.logsumexp(0) - s[0])
    return torch.stack(values).mean()


def multi_similarity(related: Related, alpha: float = 2, beta: float = 50, base: float = 0.5) -> Tensor:
    values = []
    for anchor, positives, negatives in related:
        pull = (-alpha * (cosines(anchor, positives) - base)).exp().sum().log1p() / alpha
        push = (beta * (cosines(anchor, negatives) - base)).exp().sum().log1p() / beta
        values.append(pull + push)
    return torch.stack(values).mean()


def semihard_triplet(related: Related, margin: float = 1.1, mined: float = 1.0) -> Tensor:
    values = []
    for anchor, positives, negatives in related:
        for positive in positives:
            for negative in negatives:
                further = (anchor - negative).norm() - (anchor - positive).norm()
                if 0 < further <= mined:
                    values.append(torch.relu(margin - further))
    return mean_of_positive(values)


def relate(anchors: list[Tensor], kinds: list[int], others: list[Tensor], other_kinds: list[int]) -> Related:
    return [
        (
            anchor,
            [other for other, its in zip(others, other_kinds, strict=True) if its == kind and other is not anchor],
            [other for other, its in zip(others, other_kinds, strict=True) if its != kind],
        )
        for anchor, kind in zip(anchors, kinds, strict=True)
    ]


SEMIHARD = {"name": "TripletMarginMiner", "margin": 1.0, "type_of_triplets": "semihard"}
FORMULAS: dict[str, tuple[dict[str, Any], Callable[[Related], Tensor]]] = {
    "SupConLoss": ({"loss": "SupConLoss"}, supcon),
    "NTXentLoss": ({"loss": "NTXentLoss"}, nt_xent),
    "MultiSimilarityLoss": ({"loss": "MultiSimilarityLoss"}, multi_similarity),
    "TripletMarginLoss": ({"loss": {"name": "TripletMarginLoss", "margin": 1.1}, "miner": SEMIHARD}, semihard_triplet),
}

# Eight cases. The third lacks a, the fifth lacks b, the seventh has neither; the fourth has no class.
LABELS = torch.tensor([0, 1, 2, -1, 0, 1, 0, 2])
THERE = {"a": torch.tensor([1, 1, 0, 1, 1, 1, 0, 1]).bool(), "b": torch.tensor([1, 1, 1, 1, 0, 1, 0, 1]).bool()}


def embeddings() -> dict[str, Tensor]:
    """What is missing holds what must not be looked at."""
    x = {"a": random(8, DIM, seed=3) * 30, "b": random(8, DIM, seed=2) / 30}
    for name, hole in (("a", NAN), ("b", float("inf"))):
        x[name][~THERE[name]] = hole
        x[name].requires_grad_()
    return x


def directions(rows: Sequence[Tensor]) -> list[Tensor]:
    return [row / row.norm() for row in rows]


def side_by_side(x: dict[str, Tensor], case: int) -> Tensor:
    nothing = torch.zeros(DIM, dtype=torch.float64)
    parts = [x[name][case] / x[name][case].norm() if THERE[name][case] else nothing for name in x]
    return torch.cat(parts)


def expected_relations(x: dict[str, Tensor], on: Any, positives: str) -> list[Related]:
    """By hand, which rows the loss sees and how they are related; two directions for a pair."""
    cases = [i for i in range(8) if positives == "case" or LABELS[i] >= 0]
    kinds = list(range(8)) if positives == "case" else LABELS.tolist()
    if isinstance(on, tuple):
        cases = [i for i in cases if THERE["a"][i] and THERE["b"][i]]
        sides = [directions([x[name][i] for i in cases]) for name in on]
        labels = [kinds[i] for i in cases]
        return [relate(sides[i], labels, sides[1 - i], labels) for i in (0, 1)]
    if on == "all":
        items = [(name, i) for name in x for i in cases if THERE[name][i]]
        rows, labels = directions([x[name][i] for name, i in items]), [kinds[i] for _, i in items]
    elif on == "fused":
        cases = [i for i in cases if THERE["a"][i] or THERE["b"][i]]
        rows, labels = directions([side_by_side(x, i) for i in cases]), [kinds[i] for i in cases]
    else:
        cases = [i for i in cases if THERE[on][i]]
        rows, labels = directions([x[on][i] for i in cases]), [kinds[i] for i in cases]
    return [relate(rows, labels, rows, labels)]


@pytest.mark.parametrize(
    ("on", "positives"),
    [
        ("a", "class"),
        ("fused", "class"),
        ("all", "class"),
        (("a", "b"), "class"),
        ("all", "case"),
        (("b", "a"), "case"),
    ],
)
@pytest.mark.parametrize("name", FORMULAS)
def test_losses_in_bank_match_reference(name: str, on: Any, positives: Any) -> None:
    options, formula = FORMULAS[name]
    x, y = embeddings(), embeddings()
    bank = LossBank(N_CLASSES, {"it": (0.5, MetricLoss(on=on, positives=positives, **options))})
    values = bank(x, LABELS, THERE)
    expected = torch.stack([formula(related) for related in expected_relations(y, on, positives)]).mean()
    torch.testing.assert_close(values["it"], 0.5 * expected, rtol=1e-7, atol=1e-9)
    assert expected.item() > 0.01
    values["it"].backward()
    (0.5 * expected).backward()
    for key in x:
        found, want = (torch.zeros(8, DIM) if z[key].grad is None else z[key].grad for z in (x, y))
        torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-7, check_dtype=False)


def test_fused_embedding_replaces_concatenation() -> None:
    x, fused = embeddings(), random(8, 7, seed=3)
    fused[6] = NAN  # of the case that lacks everything
    found = MetricLoss(loss="NTXentLoss")(x, LABELS, THERE, {"fused": fused})
    cases = [0, 1, 2, 4, 5, 7]
    rows, labels = directions([fused[i] for i in cases]), [int(LABELS[i]) for i in cases]
    assert found.item() == pytest.approx(nt_xent(relate(rows, labels, rows, labels)).item(), rel=1e-9)


def test_fused_embedding_without_modalities() -> None:
    fused = random(6, 5)
    inputs = LossInputs({}, {}, {"label": LABELS[:6].abs()}, {}, {"fused": fused})
    rows, labels = directions(list(fused)), LABELS[:6].abs().tolist()
    expected = nt_xent(relate(rows, labels, rows, labels))
    assert MetricLoss(loss="NTXentLoss")(inputs).item() == pytest.approx(expected.item(), rel=1e-9)


def test_modalities_of_different_widths_are_concatenated() -> None:
    x, y = random(6, 3), random(6, 5, seed=1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    rows = directions([torch.cat(directions([x[i], y[i]])) for i in range(6)])
    expected = supcon(relate(rows, labels.tolist(), rows, labels.tolist()))
    assert MetricLoss(loss="SupConLoss")({"x": x, "y": y}, labels).item() == pytest.approx(expected.item(), rel=1e-9)
    with pytest.raises(ValueError, match=r"'y' must be floating point of shape \(6, 3\)"):
        MetricLoss(loss="SupConLoss", on="all")({"x": x, "y": y}, labels)


PROXIES = 6


def proxy_anchor(rows: list[Tensor], labels: list[int], proxies: Tensor) -> Tensor:
    """Proxy Anchor Loss, eq. 4 there, with alpha 32 and delta 0.1."""
    pull, push = [], []
    for k, proxy in enumerate(proxies):
        s = [row @ proxy / proxy.norm() for row in rows]
        own = [(-32 * (value - 0.1)).exp() for value, label in zip(s, labels, strict=True) if label == k]
        others = [(32 * (value + 0.1)).exp() for value, label in zip(s, labels, strict=True) if label != k]
        if own:
            pull.append(torch.stack(own).sum().log1p())
        push.append(torch.stack(others).sum().log1p())
    return torch.stack(pull).mean() + torch.stack(push).mean()


def soft_triple(rows: list[Tensor], labels: list[int], centers: Tensor) -> Tensor:
    """SoftTriple, eq. 6 and 8 there: several centers a class; lambda 20, gamma 0.1, delta 0.01, ten centers."""
    values = []
    for row, label in zip(rows, labels, strict=True):
        scores = []
        for k in range(N_CLASSES):
            s = cosines(row, directions(list(centers[:, 10 * k : 10 * k + 10].T)))
            scores.append((s / 0.1).softmax(0) @ s - (0.01 if k == label else 0.0))
        logits = 20 * torch.stack(scores)
        values.append(logits.logsumexp(0) - logits[label])
    return torch.stack(values).mean()


@pytest.mark.parametrize(
    ("name", "parameter", "formula"),
    [("ProxyAnchorLoss", "proxies", proxy_anchor), ("SoftTripleLoss", "fc", soft_triple)],
)
def test_proxy_losses_in_bank_match_reference(name: str, parameter: str, formula: Callable[..., Tensor]) -> None:
    bank = LossBank(N_CLASSES, {"it": (2.0, MetricLoss(loss={"name": name, "embedding_size": DIM}, on="a"))})
    ((key, proxies),) = bank.named_parameters()
    assert key == f"terms.it.loss_function.{parameter}"
    labels = torch.where(LABELS == 1, 5, LABELS)  # class 1 is absent, 5 does not exist
    x, y = embeddings(), embeddings()
    cases = [i for i in range(8) if THERE["a"][i] and labels[i] in (0, 2)]
    copied = proxies.detach().double().requires_grad_()
    expected = 2 * formula(directions([y["a"][i] for i in cases]), [int(labels[i]) for i in cases], copied)
    found = bank(x, labels, THERE)["it"]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)
    found.backward()
    expected.backward()
    torch.testing.assert_close(x["a"].grad, y["a"].grad, rtol=1e-7, atol=1e-10)
    assert proxies.dtype == proxies.grad.dtype == torch.float32  # whatever the embeddings are
    torch.testing.assert_close(proxies.grad.double(), copied.grad, rtol=1e-5, atol=1e-6)


# PML is the definition


def build_loss(name: str, on: Any = "a", width: int = DIM, **more: Any) -> MetricLoss:
    return MetricLoss(loss={"name": name, **NEEDS[name](width)}, on=on, n_classes=N_CLASSES, **more)


def place_of(name: str) -> Any:
    return ("a", "b") if name == "SelfSupervisedLoss" else "a"


def test_all_pml_losses_are_tested() -> None:
    kinds = (nn.Module, pml.BaseMetricLossFunction, pml.BaseLossWrapper, pml.GenericPairLoss)
    found = {name for name, kind in vars(pml).items() if isinstance(kind, type) and issubclass(kind, nn.Module)}
    assert found - {kind.__name__ for kind in kinds} <= set(NEEDS)


@pytest.mark.parametrize("name", NAMES)
def test_ordinary_batch_matches_pml(name: str) -> None:
    x = {key: random(9, DIM, seed=i, dtype=torch.float32).requires_grad_() for i, key in enumerate("ab")}
    y = {key: value.detach().clone().requires_grad_() for key, value in x.items()}
    labels = torch.arange(9) // 3
    torch.manual_seed(0)
    term = build_loss(name, place_of(name))
    torch.manual_seed(1)
    found = term(x, labels)
    torch.manual_seed(0)
    options = NEEDS[name](DIM)
    if name in ("P2SGradLoss",) or (options.keys() == {"embedding_size"}):
        options["num_classes"] = N_CLASSES
    alone = getattr(pml, name)(**options)
    torch.manual_seed(1)
    units = {key: torch.nn.functional.normalize(value) for key, value in y.items()}
    if name == "SelfSupervisedLoss":
        expected = alone(units["a"], units["b"])
    else:
        expected = alone(units["a"], None if name in WITHOUT_LABELS else labels)
    # ProxyNCALoss among others: a distance of nearly 2 is taken to its square.
    torch.testing.assert_close(found, expected.reshape(()), rtol=1e-5, atol=1e-6)
    found.backward()
    expected.backward()
    for key in x:
        if y[key].grad is not None:
            torch.testing.assert_close(x[key].grad, y[key].grad, rtol=1e-3, atol=1e-5)
    for (key, parameter), twin in zip(term.loss_function.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, twin.grad, rtol=1e-3, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("argument", ["labels", "indices_tuple", "ref_emb"])
@pytest.mark.parametrize("name", NAMES)
def test_table_of_unsupported_arguments_matches_pml(name: str, argument: str) -> None:
    loss = build_loss(name, place_of(name)).loss_function
    x, labels = torch.nn.functional.normalize(random(9, DIM)), torch.arange(9) // 3
    known: dict[str, Any] = {} if name in WITHOUT_LABELS else {"labels": labels}
    given = {
        "labels": {"labels": labels},
        "indices_tuple": {"indices_tuple": miners.MultiSimilarityMiner()(x, labels)},
        "ref_emb": {"ref_emb": x.clone(), **({} if name in WITHOUT_LABELS else {"ref_labels": labels.clone()})},
    }
    refused = False
    try:
        loss(embeddings=x, **known | given[argument])
    except (TypeError, ValueError) as error:
        refused = "not supported" in str(error) or f"unexpected keyword argument '{argument}'" in str(error)
    wrong = name == "ThresholdConsistentMarginLoss" and argument == "ref_emb"  # it runs, on other rows
    assert accepts(type(loss), argument) is not (refused or wrong)


def test_pair_is_mean_of_both_directions() -> None:
    x, labels = random(2, 6, DIM), torch.tensor([0, 1, 2, 0, 1, 2])
    a, b = torch.nn.functional.normalize(x, dim=-1)
    alone = pml.CircleLoss()
    there, back = (alone(p, labels, ref_emb=q, ref_labels=labels.clone()) for p, q in ((a, b), (b, a)))
    assert there.item() != pytest.approx(back.item())
    found = MetricLoss(loss="CircleLoss", on=("0", "1"))(x, labels)
    assert found.item() == pytest.approx((there.item() + back.item()) / 2, rel=1e-9)


def test_distance_reducer_and_miner_are_passed_on() -> None:
    """A distance by name, for loss and miner; a reducer with options; instances."""
    x, labels = random(1, 9, DIM) * 3, torch.arange(9) % 3
    built = MetricLoss(
        loss={"name": "TripletMarginLoss", "margin": 2.0},
        on="0",
        miner={"name": "TripletMarginMiner", "margin": 4.0, "type_of_triplets": "hard"},
        reducer={"name": "ThresholdReducer", "low": 0.5},
        distance={"name": "LpDistance", "p": 1, "normalize_embeddings": False},
        normalize=False,
    )
    p1 = distances.LpDistance(p=1, normalize_embeddings=False)
    loss = pml.TripletMarginLoss(margin=2.0, distance=p1, reducer=reducers.ThresholdReducer(low=0.5))
    miner = miners.TripletMarginMiner(margin=4.0, type_of_triplets="hard", distance=p1)
    expected = loss(x[0], labels, miner(x[0], labels))
    assert expected.item() != pytest.approx(loss(x[0], labels).item())
    assert built(x, labels).item() == pytest.approx(expected.item(), rel=1e-9)
    given = MetricLoss(loss=loss, on="0", miner=miner, normalize=False)
    assert given(x, labels).item() == pytest.approx(expected.item(), rel=1e-9)
    assert built.miner.distance is built.loss_function.distance
    own = MetricLoss(loss="SupConLoss", miner={"name": "TripletMarginMiner", "distance": p1}, distance="SNRDistance")
    assert own.miner.distance is p1


def test_any_module_can_be_the_loss() -> None:
    class Spread(nn.Module):
        def forward(self, x: Tensor, labels: Tensor) -> Tensor:
            return x[labels == 0].var()

    x, labels = random(1, 6, DIM), torch.tensor([0, 0, 0, 1, 1, 1])
    assert MetricLoss(loss=Spread(), on="0")(x, labels).item() == pytest.approx(
        torch.stack(directions(x[0, :3])).var().item()
    )


def test_created_by_name() -> None:
    term = mmf.registry.losses.create("metric", loss={"name": "SupConLoss", "temperature": 0.5}, on="derm")
    assert isinstance(term, MetricLoss)
    assert term.loss_function.temperature == 0.5
    assert mmf.registry.losses.options("metric").keys() >= {"loss", "on", "miner", "positives", "n_classes"}
    assert "on='derm'" in repr(term)
    with pytest.raises(ValueError, match="no option 'margin'"):
        mmf.registry.losses.create("metric", loss="SupConLoss", margin=1)


# Number formats and invariants


@pytest.mark.parametrize("name", ["SupConLoss", "ProxyAnchorLoss", "TripletMarginLoss", "CrossBatchMemory"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    x, labels = random(1, 9, DIM).to(dtype), torch.arange(9) % 3
    term = build_loss(name, "0")
    expected = copy.deepcopy(term)(x.float(), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = copy.deepcopy(term)(x, labels)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    half = copy.deepcopy(term).to(dtype)
    assert half(x, labels).dtype == torch.float32
    assert all(parameter.dtype == dtype for parameter in half.parameters())


@pytest.mark.slow
@given(st.integers(0, 10**6), st.sampled_from(list(FORMULAS)), st.sampled_from(["all", "fused", ("0", "1")]))
def test_loss_invariants(seed: int, name: str, on: Any) -> None:
    g = torch.Generator().manual_seed(seed)
    x, labels = torch.randn(2, 7, DIM, generator=g, dtype=torch.float64), torch.randint(0, 3, (7,), generator=g)
    term = MetricLoss(on=on, **FORMULAS[name][0])
    expected = term(x, labels).item()
    order, scale = torch.randperm(7, generator=g), torch.rand(2, 7, 1, generator=g) + 0.1
    renamed = torch.tensor([2, 0, 1])[labels]
    for changed in (term(x[:, order], labels[order]), term(x.flip(0), labels), term(x * scale, renamed)):
        assert changed.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


# Batches that hold little


def batches() -> dict[str, tuple[Tensor, Tensor]]:
    two = torch.tensor([1, 1])
    copies = random(6, DIM)
    copies[3], copies[4] = copies[0], copies[1]
    opposite = random(6, DIM)
    opposite[3] = -opposite[0]
    hole = random(6, DIM)
    hole[2] = 0
    axes = torch.eye(DIM, dtype=torch.float64)[[0, 1, 2, 0, 1, 2]]
    mixed, apart = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 2, 2])
    return {
        "one": (random(1, DIM), torch.tensor([1])),
        "two": (random(2, DIM), two),
        "two classes": (random(2, DIM), torch.tensor([0, 2])),
        "one class": (random(6, DIM), torch.ones(6, dtype=torch.int64)),
        "each its class": (random(3, DIM), torch.arange(3)),
        "copies": (copies, mixed),
        "copies apart": (copies, apart),
        "all the same": (random(1, DIM).repeat(6, 1), mixed),
        "axes": (axes, apart),
        "opposite": (axes * torch.tensor([1, 1, 1, -1, -1, -1]).unsqueeze(1), mixed),
        "copies and opposite": (opposite[[0, 3, 0, 3, 1, 2]], apart),
        "constant": (torch.ones(6, DIM, dtype=torch.float64), mixed),
        "a zero": (hole, mixed),
        "zeros": (torch.zeros(6, DIM, dtype=torch.float64), mixed),
        "no case": (torch.zeros(0, DIM, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)),
        "tiny": (random(6, DIM) * 1e-20, mixed),
        "huge": (random(6, DIM) * 1e20, mixed),
        "no class": (random(6, DIM), torch.full((6,), -1)),
        "no such class": (random(6, DIM), torch.full((6,), N_CLASSES)),
    }


def check_finite(term: MetricLoss, x: Tensor, labels: Tensor, there: Tensor) -> Tensor:
    x = torch.where(there.unsqueeze(-1), x, NAN).requires_grad_()
    value = term({"a": x[0], "b": x[1]}, labels, {"a": there[0], "b": there[1]})
    assert value.shape == ()
    assert value.requires_grad
    assert value.isfinite()
    value.backward()
    assert x.grad.isfinite().all()
    assert not x.grad[~there].any()
    assert not x.grad[(x == 0).all(-1)].any()
    assert all(parameter.grad.isfinite().all() for parameter in term.parameters())
    return value.detach()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_on_degenerate_batches(name: str) -> None:
    term = build_loss(name, place_of(name))
    for dtype in (torch.float32, torch.float64):
        for key, (rows, labels) in batches().items():
            if key == "a zero" and name == "SmoothAPLoss":
                continue  # then not all classes are equally frequent
            x = torch.stack([rows, rows.flip(1)]).to(dtype)
            check_finite(term, x, labels, torch.ones(2, len(labels), dtype=torch.bool))
    rows, labels = batches()["huge"]
    x = torch.stack([rows, rows]).float()
    assert check_finite(term, x, labels, torch.zeros(2, 6, dtype=torch.bool)) == 0
    there = torch.tensor([[True, False, True, True, False, True], [True, True, False, True, True, False]])
    if name != "SmoothAPLoss":
        check_finite(term, x, labels, there)


@pytest.mark.slow
@pytest.mark.parametrize("miner", [name for name in vars(miners) if name.endswith("Miner") and name != "BaseMiner"])
def test_miners_are_finite_on_degenerate_batches(miner: str) -> None:
    for name, on in (("TripletMarginLoss", "a"), ("MultiSimilarityLoss", ("a", "b")), ("ProxyAnchorLoss", "a")):
        term = build_loss(name, on, miner=miner)
        for rows, labels in batches().values():
            x = torch.stack([rows, rows.flip(1)])
            check_finite(term, x, labels, torch.ones(2, len(labels), dtype=torch.bool))


def test_zero_embedding_is_ignored() -> None:
    x, labels = random(1, 6, DIM), torch.tensor([0, 0, 1, 1, 0, 1])
    x[0, 4] = 0
    others = torch.tensor([0, 1, 2, 3, 5])
    for name in ("SupConLoss", "P2SGradLoss", "ProxyAnchorLoss"):
        term = build_loss(name, "0")
        value = term(x, labels)
        assert value > 0
        assert torch.equal(value, term(x[:, others], labels[others]))


def test_unused_parameter_gets_zero_gradient() -> None:
    """No triplet, and so no learned margin: DistributedDataParallel would wait for it."""
    term = MetricLoss(loss={"name": "MarginLoss", "learn_beta": True, "nu": 0.1}, on="0")
    value = term(random(1, 4, DIM), torch.zeros(4, dtype=torch.int64))
    value.backward()
    assert value == 0
    assert term.loss_function.beta.grad.tolist() == [0.0]


def test_dynamic_margin_of_distance_above_two_is_finite() -> None:
    """Rounding puts some opposite directions further apart than two directions can be."""
    term, furthest = MetricLoss(loss="DynamicSoftMarginLoss", on="0"), 0.0
    for seed in range(60):
        x = random(3, 5, seed=seed, dtype=torch.float32)
        x = torch.cat([x, x, -x])
        furthest = max(furthest, pml.TripletMarginLoss().distance(x).max().item())
        assert term(x[None], torch.tensor([0, 1, 2, 0, 1, 2, 3, 4, 5])).isfinite()
    assert furthest > 2


def test_anchor_without_pairs_with_per_anchor_reducer() -> None:
    x, labels = torch.stack([random(4, DIM)] * 2), torch.tensor([0, 0, 1, 2])
    term = MetricLoss(loss="NTXentLoss", on="a", reducer="PerAnchorReducer")
    assert check_finite(term, x, labels, torch.ones(2, 4, dtype=torch.bool)) > 0


@pytest.mark.parametrize("name", ["TupletMarginLoss", "ArcFaceLoss", "SubCenterArcFaceLoss"])
def test_angle_of_cosine_one_has_finite_gradient(name: str) -> None:
    """Embeddings that coincide with the proxy of their class, and with each other."""
    x = torch.eye(DIM)[[0, 0, 1, 1]].repeat(2, 1, 1)
    labels = torch.tensor([0, 0, 1, 1])
    term = build_loss(name)
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.copy_(torch.eye(DIM)[:, torch.arange(parameter.shape[1]) % DIM])
    value = check_finite(term, x, labels, torch.ones(2, 4, dtype=torch.bool))
    if name == "TupletMarginLoss":
        # One positive at angle 0 and two negatives at a right angle, for each anchor.
        expected = math.log1p(2 * math.exp(-64 * math.cos(math.radians(5.73))))
        assert value.item() == pytest.approx(expected, rel=0.01)


def test_nan_of_present_embedding_gives_nan() -> None:
    for name in NAMES:
        x = torch.stack([random(6, DIM), random(6, DIM)])
        x[:, 2, 1] = NAN
        term = build_loss(name, place_of(name))
        labels = torch.tensor([0, 0, 1, 1, 2, 2])
        assert term({"a": x[0], "b": x[1]}, labels).isnan()
        if name != "MultipleLosses":
            x[:, 2, 1] = 0
            assert term({"a": x[0], "b": x[1]}, labels).isfinite()  # and is not remembered


def test_smooth_ap_matches_paper() -> None:
    """As many classes as cases of each, where PML's is the formula of its paper, eq. 5 and 8 there."""
    x, labels = random(9, DIM), torch.tensor([0, 1, 2, 2, 1, 0, 1, 0, 2])
    units = directions(x)
    s = [cosines(row, units) for row in units]
    precisions = []
    for i in range(9):
        own = [j for j in range(9) if labels[j] == labels[i]]
        rank = {
            (j, of): 1 + sum(torch.sigmoid((s[i][m] - s[i][j]) / 0.01) for m in among if m != j)
            for of, among in (("own", own), ("all", range(9)))
            for j in own
        }
        precisions.append(sum(rank[j, "own"] / rank[j, "all"] for j in own) / len(own))
    expected = 1 - sum(precisions) / 9
    assert MetricLoss(loss="SmoothAPLoss", on="0")(x[None], labels).item() == pytest.approx(expected.item(), rel=1e-5)


# Memories


def remembered_nt_xent(rows: list[Tensor], labels: list[int], past: list[Tensor], past_labels: list[int]) -> Tensor:
    """The batch is in the memory, too: as references its rows have no gradient."""
    related = []
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        others = [(other.detach(), its) for j, (other, its) in enumerate(zip(rows, labels, strict=True)) if j != i]
        others += list(zip(past, past_labels, strict=True))
        related.append((row, [o for o, its in others if its == label], [o for o, its in others if its != label]))
    return nt_xent(related)


@pytest.mark.parametrize("sizes", [(6, 6, 6), (1, 6, 1), (5, 1, 6), (6, 6, 1)])
def test_cross_batch_memory_matches_reference(sizes: tuple[int, ...]) -> None:
    """The queue of 12 is full in the third batch, and what does not fit is forgotten; its own rows are no positives."""
    term = MetricLoss(loss=pml.CrossBatchMemory(pml.NTXentLoss(), DIM, memory_size=12), on="0")
    past: list[Tensor] = []
    past_labels: list[int] = []
    for step, n in enumerate(sizes):
        x, labels = random(1, n, DIM, seed=step).requires_grad_(), torch.arange(n) % 3
        found = term(x, labels)
        rows = directions(x[0])
        room = 12 - n if n > 1 else 12
        kept, kept_labels = past[-room:], past_labels[-room:]
        if n > 1 or kept:
            expected = remembered_nt_xent(rows, labels.tolist(), kept, kept_labels)
            torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
            want = torch.autograd.grad(expected, x, retain_graph=True)
            torch.testing.assert_close(torch.autograd.grad(found, x), want, rtol=1e-5, atol=1e-8)
        else:
            assert found == 0
        if step > 0:
            assert found.item() != pytest.approx(MetricLoss(loss="NTXentLoss", on="0")(x, labels).item(), rel=1e-3)
        past += [row.detach() for row in rows]
        past_labels += labels.tolist()


def test_stored_cases_are_not_positives_of_themselves() -> None:
    term = MetricLoss(
        loss={"name": "CrossBatchMemory", "loss": pml.NTXentLoss(), "embedding_size": DIM, "memory_size": 20},
        on="all",
        positives="case",
    )
    past: list[Tensor] = []
    for step in range(3):
        x = random(2, 4, DIM, seed=step)
        rows, cases = directions(x.flatten(0, 1)), [0, 1, 2, 3] * 2
        expected = remembered_nt_xent(rows, cases, past[-12:], [-1] * len(past[-12:]))
        assert term(x).item() == pytest.approx(expected.item(), rel=1e-9)
        past += rows


@pytest.mark.parametrize("n_before", [1, 3])
def test_state_dict_restores_memory(n_before: int) -> None:
    """As a whole: with its position, before and after it has been filled."""

    def make() -> LossBank:
        memory = pml.CrossBatchMemory(pml.SupConLoss(), DIM, memory_size=14)
        return LossBank(3, {"it": (1.0, MetricLoss(loss=memory, on="0"))})

    first, labels = make(), torch.arange(6) % 3
    for step in range(n_before):
        first(random(1, 6, DIM, seed=step, dtype=torch.float32), labels)
    second = make()
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for step in range(n_before, n_before + 3):
        x = random(1, 6, DIM, seed=step, dtype=torch.float32)
        assert torch.equal(second(x, labels)["it"], first(x, labels)["it"])
    x = random(1, 6, DIM, seed=9, dtype=torch.float32)
    assert first(x, labels)["it"].item() != pytest.approx(make()(x, labels)["it"].item(), rel=1e-3)


@pytest.mark.parametrize("name", ["CrossBatchMemory", "DynamicSoftMarginLoss"])
def test_evaluation_does_not_update_memory(name: str) -> None:
    x, labels = random(3, 1, 6, DIM, dtype=torch.float32), torch.arange(6) % 3
    term = build_loss(name, "0")
    term(x[0], labels)
    before = copy.deepcopy(term.state_dict())
    twin = copy.deepcopy(term)
    term.eval()
    seen = term(x[1], labels)
    assert all(torch.equal(value, before[key]) for key, value in term.state_dict().items())
    twin.eval()
    assert torch.equal(twin(x[1], labels), seen)
    term.train()
    assert torch.equal(term(x[1], labels), seen)
    assert not all(torch.equal(value, before[key]) for key, value in term.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_backward_after_two_forwards(name: str) -> None:
    x, labels = random(2, 2, 6, DIM, dtype=torch.float32).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    term = build_loss(name, place_of(name))
    first, second = (term({"a": x[i, 0], "b": x[i, 1]}, labels) for i in (0, 1))
    first.backward()
    second.backward()
    assert x.grad.isfinite().all()


def test_dynamic_margin_histogram_matches_reference() -> None:
    """Each loss is weighted by the share of smaller ones, in a histogram with momentum 0.01 and shared bins."""
    term = MetricLoss(loss="DynamicSoftMarginLoss", on="0")
    labels, history = torch.tensor([0, 0, 1, 1, 2, 2]), torch.zeros(12, dtype=torch.float64)
    for step in range(3):
        x = random(1, 6, DIM, seed=step)
        values = []
        for anchor, positives, negatives in relate(*[directions(x[0]), labels.tolist()] * 2):
            values += [(anchor - p).norm() - (anchor - n).norm() for p in positives for n in negatives]
        momentum = 0.01 if step else 1.0
        history = (1 - momentum) * history
        for value in values:
            place = (value.item() + 2) / 0.4
            history[int(place)] += momentum * (1 - place % 1)
            history[int(place) + 1] += momentum * (place % 1)
        history = history / history.sum()
        weights = [history[: int((value.item() + 2) / 0.4) + 1].sum() for value in values]
        expected = sum(w * v for w, v in zip(weights, values, strict=True)) / len(values)
        assert term(x, labels).item() == pytest.approx(expected.item(), rel=1e-6)
        torch.testing.assert_close(term.loss_function.hist_, history, rtol=1e-6, atol=1e-9)


# Several processes


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_processes_match_whole_batch(tmp_path: Path) -> None:
    """Not as many rows in both, and something else is missing in each."""
    expected = steps(0, [list(range(10))], wrap=False)
    assert all(bool(value.any()) for value in expected.values())
    for one in together(train, tmp_path, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]):
        for way, found in one.items():
            assert found.keys() == expected.keys()
            for name, value in expected.items():
                torch.testing.assert_close(
                    found[name], value, rtol=1e-8, atol=1e-10, msg=lambda m, n=f"{way}, {name}": f"{n}: {m}"
                )


def test_distributed_wrapper_in_one_process_has_no_effect() -> None:
    x, labels = random(1, 6, DIM), torch.arange(6) % 3
    wrapped = MetricLoss(loss=DistributedLossWrapper(pml.SupConLoss()), on="0")
    assert wrapped._gathers
    assert torch.equal(wrapped(x, labels), MetricLoss(loss="SupConLoss", on="0")(x, labels))


@pytest.mark.slow
def test_pml_is_imported_lazily() -> None:
    code = (
        "import sys, mmfusion.losses.metric; print('pytorch_metric_learning' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# Refusals


def test_proxies_wait_for_n_classes() -> None:
    waiting = MetricLoss(loss={"name": "ProxyAnchorLoss", "embedding_size": DIM}, on="0")
    assert not list(waiting.parameters())
    with pytest.raises(ValueError, match="number of classes is unknown"):
        waiting(random(1, 6, DIM), torch.arange(6) % 3)
    LossBank(5, {"it": (1.0, waiting)})
    assert waiting.loss_function.proxies.shape == (5, DIM)
    for known in (
        MetricLoss(loss={"name": "ProxyAnchorLoss", "embedding_size": DIM}, n_classes=5),
        MetricLoss(loss={"name": "ProxyAnchorLoss", "embedding_size": DIM, "num_classes": 5}),
        MetricLoss(loss=pml.ProxyAnchorLoss(5, DIM)),
    ):
        assert known.n_classes == 5
        LossBank(5, {"it": (1.0, known)})
        with pytest.raises(ValueError, match="'it' was built for 5 classes, the bank has 3"):
            LossBank(3, {"it": (1.0, known)})
        with pytest.raises(ValueError, match="built for 5 classes, it cannot have 3"):
            known.set_n_classes(3)
    unbound = MetricLoss(loss=pml.ProxyNCALoss(5, DIM))  # does not keep its number of classes
    assert unbound.n_classes is None
    assert MetricLoss(loss="SupConLoss").n_classes is None


WIDE = {"embedding_size": DIM}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: MetricLoss(loss="SupCon"),
            r"unknown name 'SupCon' in pytorch_metric_learning.losses; did you mean 'SupConLoss'",
        ),
        (lambda: MetricLoss(loss="xyz"), "there are: AngularLoss, ArcFaceLoss"),
        (lambda: MetricLoss(loss="BaseMetricLossFunction"), "unknown name 'BaseMetricLossFunction'"),
        (
            lambda: MetricLoss(loss="SupConLoss", miner="TripletMiner"),
            "learning.miners; did you mean 'TripletMarginMiner'",
        ),
        (
            lambda: MetricLoss(loss="SupConLoss", distance="Cosine"),
            "learning.distances; did you mean 'CosineSimilarity'",
        ),
        (lambda: MetricLoss(loss="SupConLoss", reducer="Mean"), "learning.reducers; did you mean 'MeanReducer'"),
        (
            lambda: MetricLoss(loss={"name": "SupConLoss", "temprature": 1}),
            "no option 'temprature'; did you mean 'temperature'",
        ),
        (
            lambda: MetricLoss(loss={"name": "SupConLoss", "zzz": 1}),
            r"no option 'zzz'\. Valid: collect_stats, distance, .*reducer",
        ),
        (lambda: MetricLoss(loss={"name": "SupConLoss", "mat_based_loss": False}), "no option 'mat_based_loss'"),
        (
            lambda: MetricLoss(loss="SupConLoss", miner={"name": "HDCMiner", "margin": 1}),
            "HDCMiner has no option 'margin'",
        ),
        (lambda: MetricLoss(loss="SupConLoss", distance={"p": 1}), "a distance is a name, or a mapping"),
        (
            lambda: MetricLoss(loss="SupConLoss", reducer={"name": reducers.MeanReducer(), "low": 1}),
            "a reducer is a name, or a mapping with name and options",
        ),
        (
            lambda: MetricLoss(loss={"name": "SupConLoss", "distance": distances.SNRDistance()}, distance="LpDistance"),
            "SupConLoss is given its distance twice",
        ),
        (lambda: MetricLoss(loss=pml.SupConLoss(), distance="LpDistance"), "built already: give it its distance there"),
        (
            lambda: MetricLoss(loss=pml.SupConLoss),
            "a loss of pytorch-metric-learning is a name, or a mapping .* got <class",
        ),
        (
            lambda: MetricLoss(loss="SupConLoss", miner=3),
            "miner expects str or a table of options or Module or none, got 3",
        ),
        (
            lambda: MetricLoss(loss="SupConLoss", distance=3),
            "distance expects str or a table of options or Module or none, got 3",
        ),
        (lambda: MetricLoss(loss="ProxyAnchorLoss"), "ProxyAnchorLoss needs embedding_size: the width"),
        (lambda: MetricLoss(loss="P2SGradLoss"), "P2SGradLoss needs descriptors_dim: the width"),
        (
            lambda: MetricLoss(loss="RankedListLoss"),
            "RankedListLoss cannot be built .*missing 2 required.*'margin' and 'Tn'",
        ),
        (
            lambda: MetricLoss(loss="CircleLoss", distance="LpDistance"),
            "CircleLoss requires the distance metric to be Cosine",
        ),
        (
            lambda: MetricLoss(loss={"name": "CrossBatchMemory", "loss": pml.VICRegLoss(), **WIDE}),
            "CrossBatchMemory not supported for VICRegLoss",
        ),
        (lambda: MetricLoss(loss={"name": "CrossBatchMemory", **WIDE}, distance="LpDistance"), "no option 'distance'"),
        (lambda: MetricLoss(loss="VICRegLoss", miner="HDCMiner"), "VICRegLoss takes no miner, got HDCMiner"),
        (lambda: MetricLoss(loss={"name": "P2SGradLoss", "descriptors_dim": 4}, miner="HDCMiner"), "takes no miner"),
        (
            lambda: MetricLoss(loss="SupConLoss", miner="EmbeddingsAlreadyPackagedAsTriplets"),
            "not packaged as triplets",
        ),
        (
            lambda: MetricLoss(loss="SupConLoss", positives="pair"),
            "positives expects one of class, case, got 'pair'",
        ),
        (lambda: MetricLoss(loss="SupConLoss", positives="case"), "on='fused' a case has no positive but itself"),
        (
            lambda: MetricLoss(loss="SupConLoss", on="derm", positives="case"),
            "on='derm' a case has no positive but itself",
        ),
        (
            lambda: MetricLoss(loss={"name": "ProxyNCALoss", **WIDE}, on="all", positives="case"),
            "has proxies of classes",
        ),
        (
            lambda: MetricLoss(loss={"name": "ProxyNCALoss", **WIDE}, on=("a", "b")),
            "ProxyNCALoss cannot compare two modalities",
        ),
        (lambda: MetricLoss(loss="ThresholdConsistentMarginLoss", on=("a", "b")), "cannot compare two modalities"),
        (
            lambda: MetricLoss(loss={"name": "CrossBatchMemory", **NEEDS["CrossBatchMemory"](4)}, on=("a", "b")),
            "cannot compare",
        ),
        (
            lambda: MetricLoss(loss=pml.SelfSupervisedLoss(pml.NTXentLoss())),
            "SelfSupervisedLoss compares two modalities: on must be a pair",
        ),
        (lambda: MetricLoss(loss="SupConLoss", on=("a", "a")), "a pair of names, got"),
        (lambda: MetricLoss(loss="SupConLoss", on=("a", "b", "c")), "a pair of names, got"),
        (lambda: MetricLoss(loss="SupConLoss", on=None), "on expects str or a list of str, got None"),
        (
            lambda: MetricLoss(loss=DistributedLossWrapper(pml.SupConLoss(), efficient=True)),
            "DistributedLossWrapper with efficient=True has other gradients",
        ),
    ],
)
def test_invalid_options_raise(build: Callable[[], MetricLoss], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


X, Y = random(2, 6, DIM), torch.arange(6) % 3
NAMED = {"a": X[0], "b": X[1]}


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"on": "derm"}, (NAMED, Y), r"unknown embeddings \['derm'\], expected some of \['a', 'b'\]"),
        ({"on": ("a", "x")}, (NAMED, Y), r"unknown embeddings \['x'\]"),
        ({"on": "fused"}, ({"fused": X[0]}, Y), "on='fused' is ambiguous, a modality has this name"),
        ({"on": "all"}, ({"all": X[0]}, Y), "on='all' is ambiguous"),
        ({}, (NAMED, Y, None, {"fused": X[0, :3]}), "must have one row per case, got"),
        ({}, (NAMED, Y, None, {"fused": X}), "must be floating point"),
        ({}, ({}, Y), "needs aux\\['fused'\\] or embeddings"),
        ({}, (NAMED,), "labels are needed"),
        ({}, (NAMED, Y.float()), r"labels must be int64 of shape \(6,\)"),
        ({}, (NAMED, Y[:3]), r"labels must be int64 of shape \(6,\)"),
        ({"reducer": "DoNothingReducer"}, (NAMED, Y), "must return a scalar, got a dict: choose another reducer"),
        (
            {"loss": {"name": "ProxyAnchorLoss", "embedding_size": 5}, "n_classes": 3, "on": "a"},
            (NAMED, Y),
            "ProxyAnchorLoss was built for embeddings of width 5, got width 4",
        ),
        (
            {"loss": pml.CrossBatchMemory(pml.NTXentLoss(), 4), "on": "fused"},
            (NAMED, Y),
            "CrossBatchMemory was built for embeddings of width 4, got width 8",
        ),
        (
            {"loss": pml.CrossBatchMemory(pml.NTXentLoss(), 4, memory_size=5), "on": "a"},
            (NAMED, Y),
            "remembers 5 rows, fewer than the 6",
        ),
        ({"loss": "SmoothAPLoss"}, (NAMED, torch.tensor([0, 0, 0, 1, 1, 2])), "same number of elements"),
    ],
)
def test_invalid_inputs_raise(options: dict[str, Any], arguments: tuple[Any, ...], message: str) -> None:
    term = MetricLoss(**{"loss": "SupConLoss", **options})
    with pytest.raises(ValueError, match=message):
        term(*arguments)


def test_modality_named_fused_in_pair() -> None:
    term = MetricLoss(loss="NTXentLoss", on=("a", "fused"), positives="case")
    other = MetricLoss(loss="NTXentLoss", on=("a", "b"), positives="case")
    assert torch.equal(term({"a": X[0], "fused": X[1]}), other(NAMED))
