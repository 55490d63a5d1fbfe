import itertools
import math

import pytest
import torch
from torch import Tensor

from mmfusion.fusion.vectors import TensorFusion

NAMES = ("a", "b", "t")


def batch(dim: int, n: int = 2) -> dict[str, Tensor]:
    return {name: torch.randn(n, dim, dtype=torch.float64) for name in NAMES}


def randomised(fusion: torch.nn.Module) -> None:
    for parameter in fusion.parameters():
        torch.nn.init.normal_(parameter)


@pytest.mark.parametrize(("dim", "project"), [(2, 32), (3, 2)])
def test_tensor_fusion_matches_equation(dim: int, project: int) -> None:
    fusion = TensorFusion(NAMES, dim=dim, dim_out=4, project=project).double()
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


def test_missing_modality_leaves_its_constant() -> None:
    fusion = TensorFusion(NAMES, dim=3, dim_out=4, project=2).double()
    randomised(fusion)
    x, there = batch(3), torch.tensor([True, False])
    found = fusion(x, {"b": there})
    torch.testing.assert_close(found[0], fusion(x)[0])
    # A projection's bias must not stand in for it: the same as a projection that gives nothing.
    fusion.project["b"].weight.data.zero_()
    fusion.project["b"].bias.data.zero_()
    torch.testing.assert_close(found[1], fusion(x)[1])


def test_too_large_tensor_raises_before_allocation() -> None:
    names = [f"m{i}" for i in range(4)]
    with pytest.raises(
        ValueError,
        match=r"has 1,185,921 features, for 151,797,888 weights.* set project, .* to 31 or less",
    ):
        TensorFusion(names, dim=128, dim_out=128)
    with torch.device("meta"):
        assert TensorFusion(names, dim=128, dim_out=128, project=31).linear.in_features == 32**4
    with pytest.raises(ValueError, match="set project, "):
        TensorFusion([f"m{i}" for i in range(12)], dim=128, dim_out=128)


def test_invalid_project_raises() -> None:
    with pytest.raises(ValueError, match="project expects int from 1 to 16384, got 0"):
        TensorFusion(NAMES, dim=2, project=0)
