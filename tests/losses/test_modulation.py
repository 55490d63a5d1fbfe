"""AMF's losses against loops over scalars."""

from typing import Any

import pytest
import torch
from torch import Tensor

from mmfusion.losses.density import DensityLoss, density_loss
from mmfusion.losses.leakage import LeakageLoss, leakage_loss
from mmfusion.losses.modulation import parts_mask

PARTS = {"image": 2, "table": 3}
THREE = {"a": 1, "b": 2, "t": 3}


def embeddings(parts: dict[str, int], n: int = 4) -> dict[str, Tensor]:
    width = sum(parts.values())
    return {name: torch.randn(n, width, dtype=torch.float64) for name in parts}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def by_hand(parts: dict[str, int], x: dict[str, Tensor], have: dict[str, list[bool]]) -> tuple[float, float]:
    """Density and leakage."""
    starts, start = {}, 0
    for name, length in parts.items():
        starts[name] = range(start, start + length)
        start += length
    names, n = list(parts), len(next(iter(x.values())))

    def inside(name: str, case: int) -> float:
        return mean([abs(x[name][case, j].item()) for j in starts[name]])

    def outside(name: str, case: int) -> float:
        return mean([abs(x[name][case, j].item()) for j in range(start) if j not in starts[name]])

    density = [
        abs(inside(one, case) - inside(other, case))
        for i, one in enumerate(names)
        for other in names[i + 1 :]
        for case in range(n)
        if have[one][case] and have[other][case]
    ]
    leakage = [outside(name, case) for name in names for case in range(n) if have[name][case]]
    return mean(density), mean(leakage)


@pytest.mark.parametrize("parts", [PARTS, THREE, {"only": 4}])
@pytest.mark.parametrize("missing", [False, True])
def test_losses_match_reference(parts: dict[str, int], missing: bool) -> None:
    x = embeddings(parts)
    have = {name: [not (missing and (i + case) % 3 == 0) for case in range(4)] for i, name in enumerate(parts)}
    present = {name: torch.tensor(row) for name, row in have.items()} if missing else {}
    found = [term(parts=parts)(x, present=present).item() for term in (DensityLoss, LeakageLoss)]
    assert found == pytest.approx(by_hand(parts, x, have), abs=1e-12)


def test_leakage_of_two_modalities_by_hand() -> None:
    """As in the paper: each modality's mean magnitude in the other's part."""
    x = {"image": torch.tensor([[9.0, 9.0, 1.0, -2.0, 3.0]]), "table": torch.tensor([[4.0, -6.0, 9.0, 9.0, 9.0]])}
    assert LeakageLoss(parts=PARTS)(x).item() == pytest.approx((2 + 5) / 2)
    assert DensityLoss(parts=PARTS)(x).item() == pytest.approx(0)


@pytest.mark.parametrize("term", [DensityLoss, LeakageLoss])
def test_missing_modality_has_no_effect(term: Any) -> None:
    x, there = embeddings(PARTS), torch.tensor([True, False, True, False])
    grads = []
    for content in (0.0, float("nan"), float("inf")):
        given = {name: one.clone().requires_grad_() for name, one in x.items()}
        filled = given | {"table": torch.where(there[:, None], given["table"], content)}
        loss = term(parts=PARTS)(filled, present={"table": there})
        loss.backward()
        grads.append([loss.detach(), *(one.grad for one in given.values())])
    for other in grads[1:]:
        assert all(torch.equal(a, b) for a, b in zip(grads[0], other, strict=True))
    nobody = dict.fromkeys(PARTS, torch.zeros(4, dtype=torch.bool))
    assert term(parts=PARTS)(x, present=nobody).item() == 0


def test_parts_mask_values() -> None:
    assert parts_mask(PARTS).squeeze(1).tolist() == [
        [True, True, False, False, False],
        [False, False, True, True, True],
    ]
    x = torch.stack(list(embeddings(PARTS).values()))
    everyone = torch.ones(2, 4, dtype=torch.bool)
    for term, function in ((DensityLoss, density_loss), (LeakageLoss, leakage_loss)):
        assert (
            term(parts=PARTS)(dict(zip(PARTS, x, strict=True))).item()
            == function(x, parts_mask(PARTS), everyone).item()
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: DensityLoss(parts={"a": 0, "b": 2}),
            r"parts must .* one feature, got {'a': 0, 'b': 2}",
        ),
        (lambda: LeakageLoss(parts={}), "parts must give each modality at least one feature, got {}"),
        (
            lambda: DensityLoss(parts=PARTS)({"image": torch.zeros(2, 5)}),
            r"embeddings of \['table'\] are missing, got \['image'\]",
        ),
        (
            lambda: LeakageLoss(parts=PARTS)(dict.fromkeys(PARTS, torch.zeros(2, 4))),
            "wide as the parts together, 5, .* got 4",
        ),
    ],
)
def test_invalid_parts_raise(call: Any, message: str) -> None:
    DensityLoss(parts=PARTS)(dict.fromkeys(PARTS, torch.zeros(2, 5)))
    with pytest.raises(ValueError, match=message):
        call()
