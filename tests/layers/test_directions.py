import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers.gradient_reference import ROWS, rows
from mmfusion.layers.directions import unit


def jacobian(x: Tensor) -> Tensor:
    """``(I - u u^T) / |x|``, in float64."""
    length = x.norm()
    direction = x / length
    return (torch.eye(len(x), dtype=x.dtype) - torch.outer(direction, direction)) / length


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_unit_gradient_of_one_nonzero_entry(dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, 0.0, 2.132], dtype=dtype, requires_grad=True)
    unit(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1 / 2.132, 1 / 2.132, 0.0], dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(
    kind=st.sampled_from([kind for kind in ROWS if kind != "zero"]),
    dim=st.integers(1, 6),
    power=st.integers(-100, 100),
    seed=st.integers(0, 10**6),
)
def test_unit_jacobian_at_any_scale(dtype: torch.dtype, kind: str, dim: int, power: int, seed: int) -> None:
    x = rows([kind], dim, seed)[0]
    if not bool(x.any()):
        return
    found = torch.autograd.functional.jacobian(unit, (x * 2.0**power).to(dtype))
    torch.testing.assert_close(found.double() * 2.0**power, jacobian(x), rtol=1e-5, atol=1e-6)


def test_unit_gradcheck() -> None:
    x = rows([kind for kind in ROWS if kind != "zero"], 4, 0).requires_grad_()
    assert torch.autograd.gradcheck(unit, (x,))
