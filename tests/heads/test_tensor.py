import itertools
import math

import pytest
import torch
from torch import Tensor

from mmfusion.heads import LowRankFusion, TensorFusion

NAMES = ("a", "b", "t")


def batch(dim: int, n: int = 2) -> dict[str, Tensor]:
    return {name: torch.randn(n, dim, dtype=torch.float64) for name in NAMES}


def randomised(fusion: torch.nn.Module) -> None:
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)


@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_equation(rank: int) -> None:
    """Once by factors, once by the whole tensor of weights that they stand for."""
    fusion = LowRankFusion(NAMES, dim=2, width=4, rank=rank).double()
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


def test_every_factor_is_a_parameter_that_learns() -> None:
    """What public code keeps in a plain list is neither saved nor trained."""
    fusion = LowRankFusion(NAMES, dim=2, width=4, rank=3)
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


@pytest.mark.parametrize(("dim", "project"), [(2, 32), (3, 2)])
def test_tensor_equation(dim: int, project: int) -> None:
    fusion = TensorFusion(NAMES, dim=dim, width=4, project=project).double()
    x = batch(dim)
    found = fusion(x)
    size = min(dim, project)
    assert len(fusion.project) == (0 if dim <= project else 3)
    weight, bias = fusion.linear.weight.tolist(), fusion.linear.bias.tolist()
    for case in range(2):
        parts = [x[name][case] for name in NAMES]
        if fusion.project:
            parts = [fusion.project[name](part) for name, part in zip(NAMES, parts, strict=True)]
        z = [[1.0, *part.tolist()] for part in parts]
        outer = [math.prod(z[m][i[m]] for m in range(3)) for i in itertools.product(range(size + 1), repeat=3)]
        expected = [
            b + sum(w * v for w, v in zip(row, outer, strict=True)) for row, b in zip(weight, bias, strict=True)
        ]
        assert found[case].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("whole", [False, True])
def test_of_what_is_missing_the_constant_is_left(whole: bool) -> None:
    fusion = (
        TensorFusion(NAMES, dim=3, width=4, project=2) if whole else LowRankFusion(NAMES, dim=3, width=4)
    ).double()
    randomised(fusion)
    x, there = batch(3), torch.tensor([True, False])
    found = fusion(x, {"b": there})
    torch.testing.assert_close(found[0], fusion(x)[0])
    if isinstance(fusion, TensorFusion):
        # A projection's bias must not stand in for it: the same as a projection that gives nothing.
        fusion.project["b"].weight.data.zero_()
        fusion.project["b"].bias.data.zero_()
        torch.testing.assert_close(found[1], fusion(x)[1])
    else:
        assert torch.equal(found[1], fusion(x | {"b": torch.zeros(2, 3, dtype=torch.float64)})[1])


def test_what_does_not_fit_into_memory_is_refused_before_it_is_made() -> None:
    names = [f"m{i}" for i in range(4)]
    with pytest.raises(
        ValueError, match=r"has 1,185,921 features, for 151,797,888 weights.* set tensor_dim to 31 or less"
    ):
        TensorFusion(names, dim=128, width=128)
    with torch.device("meta"):
        assert TensorFusion(names, dim=128, width=128, project=31).linear.in_features == 32**4
    with pytest.raises(ValueError, match="set tensor_dim to"):
        TensorFusion([f"m{i}" for i in range(12)], dim=128, width=128)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LowRankFusion(NAMES, dim=2, width=2, rank=0), "rank expects int from 1 to 4096, got 0"),
        (lambda: TensorFusion(NAMES, dim=2, width=2, project=0), "project expects int from 1 to 16384, got 0"),
    ],
)
def test_what_is_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
