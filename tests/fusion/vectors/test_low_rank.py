import itertools
import math

import pytest
import torch
from torch import Tensor

from mmfusion.fusion.vectors import LowRankFusion

NAMES = ("a", "b", "t")


def batch(dim: int, n: int = 2) -> dict[str, Tensor]:
    return {name: torch.randn(n, dim, dtype=torch.float64) for name in NAMES}


def randomised(fusion: torch.nn.Module) -> None:
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)


@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_fusion_matches_equation(rank: int) -> None:
    """Once by factors, once by the whole weight tensor that they factorize."""
    fusion = LowRankFusion(NAMES, dim=2, dim_out=4, rank=rank).double()
    randomised(fusion)
    x = batch(2)
    found = fusion(x)
    w, weight, bias = fusion.factors.tolist(), fusion.weight.tolist(), fusion.bias.tolist()
    for case, o in itertools.product(range(2), range(4)):
        z = [[1.0, *x[name][case].tolist()] for name in NAMES]
        by_factors = bias[o] + sum(
            weight[r] * math.prod(sum(z[m][d] * w[m][r][d][o] for d in range(3)) for m in range(3)) for r in range(rank)
        )
        by_tensor = bias[o] + sum(
            math.prod(z[m][d[m]] for m in range(3))
            * sum(weight[r] * math.prod(w[m][r][d[m]][o] for m in range(3)) for r in range(rank))
            for d in itertools.product(range(3), repeat=3)
        )
        assert found[case, o].item() == pytest.approx(by_factors, abs=1e-12)
        assert by_factors == pytest.approx(by_tensor, abs=1e-9)


def test_every_factor_gets_gradient_and_is_saved() -> None:
    """Factors in a plain list, as in public code, are neither saved nor trained."""
    fusion = LowRankFusion(NAMES, dim=2, dim_out=4, rank=3)
    assert {name: tuple(p.shape) for name, p in fusion.named_parameters()} == {
        "factors": (3, 3, 3, 4),
        "weight": (3,),
        "bias": (4,),
    }
    fusion({name: torch.randn(5, 2) for name in NAMES}).square().sum().backward()
    assert bool(fusion.factors.grad.flatten(2).any(-1).all())
    before = fusion.factors.detach().clone()
    torch.optim.SGD(fusion.parameters(), lr=0.1).step()
    assert bool((fusion.factors != before).flatten(2).any(-1).all())


def test_missing_modality_leaves_its_constant() -> None:
    fusion = LowRankFusion(NAMES, dim=3, dim_out=4).double()
    randomised(fusion)
    x, there = batch(3), torch.tensor([True, False])
    found = fusion(x, {"b": there})
    torch.testing.assert_close(found[0], fusion(x)[0])
    assert torch.equal(found[1], fusion(x | {"b": torch.zeros(2, 3, dtype=torch.float64)})[1])


def test_invalid_rank_raises() -> None:
    with pytest.raises(ValueError, match="LowRankFusion: rank expects int from 1 to 4096, got 0"):
        LowRankFusion(NAMES, dim=2, rank=0)
