import math

import pytest
import torch
from torch import Tensor

from mmfusion.fusion.vectors import GatedFusion


def build(n: int, dim: int = 3, dim_out: int | None = None) -> GatedFusion:
    return GatedFusion([f"m{i}" for i in range(n)], dim=dim, dim_out=dim_out).double()


def batch(fusion: GatedFusion, n: int = 2, dim: int = 3) -> dict[str, Tensor]:
    return {name: torch.randn(n, dim, dtype=torch.float64) for name in fusion.names}


def product(matrix: list[list[float]], x: list[float]) -> list[float]:
    return [sum(w * v for w, v in zip(row, x, strict=True)) for row in matrix]


def by_hand(
    x: list[list[float]], projections: list[list[list[float]]], gate: list[list[float]], width: int
) -> list[float]:
    """One case that has everything."""
    h = [[math.tanh(v) for v in product(w, one)] for w, one in zip(projections, x, strict=True)]
    z = [1 / (1 + math.exp(-v)) for v in product(gate, [v for one in x for v in one])]
    if len(x) == 2:
        return [z[j] * h[0][j] + (1 - z[j]) * h[1][j] for j in range(width)]
    return [sum(z[i * width + j] * h[i][j] for i in range(len(x))) for j in range(width)]


@pytest.mark.parametrize(("n", "width"), [(1, None), (2, None), (2, 5), (3, None), (4, 2)])
def test_gated_fusion_matches_equations(n: int, width: int | None) -> None:
    fusion = build(n, dim_out=width)
    x = batch(fusion)
    found = fusion(x)
    projections = [fusion.project[name].weight.tolist() for name in fusion.names]
    for case in range(2):
        rows = [x[name][case].tolist() for name in fusion.names]
        expected = by_hand(rows, projections, fusion.gate.weight.tolist(), fusion.dim_out)
        assert found[case].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("missing", [0, 1])
def test_remaining_modality_of_two_is_not_gated(missing: int) -> None:
    fusion = build(2)
    x = batch(fusion)
    there = torch.tensor([True, False])
    gone, left = fusion.names[missing], fusion.names[1 - missing]
    part = x | {gone: x[gone].where(there[:, None], 0.0)}
    found = fusion(part, {gone: there})
    torch.testing.assert_close(found[0], fusion(x)[0])
    torch.testing.assert_close(found[1], fusion.project[left](x[left]).tanh()[1])


def test_missing_modality_of_three_counts_as_zeros() -> None:
    """The gates of the others see zeros in its place."""
    fusion = build(3)
    x = batch(fusion)
    found = fusion(x, {"m1": torch.zeros(2, dtype=torch.bool)})
    assert torch.equal(found, fusion(x | {"m1": torch.zeros(2, 3, dtype=torch.float64)}))
    assert not fusion(x, dict.fromkeys(fusion.names, torch.zeros(2, dtype=torch.bool))).any()


def test_parameter_count_matches_number_of_gates() -> None:
    """No biases; one gate for two modalities, otherwise one per modality."""
    counts = {n: sum(p.numel() for p in build(n).parameters()) for n in (1, 2, 3)}
    assert counts == {1: 9 + 9, 2: 2 * 9 + 6 * 3, 3: 3 * 9 + 9 * 9}
