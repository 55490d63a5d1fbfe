from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from mmfusion.explain.perturbation import perturbation_curves
from mmfusion.explain.random_maps import ranks


def linear(weights: Tensor, seen: list[int] | None = None) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor) -> Tensor:
        if seen is not None:
            seen.append(len(x))
        return (x.double() * weights).flatten(1).sum(1)

    return function


@given(st.integers(0, 1000), st.sampled_from([(3, 4), (2, 3, 2)]))
def test_curves_of_linear_function_match_closed_form(seed: int, size: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(seed)
    weights, x = torch.randn((2, *size), generator=g).double(), torch.rand((2, *size), generator=g).double()
    empty = torch.rand((2, *size), generator=g).double()
    loss = (weights * (x - empty)).sum(0)  # of each position
    random = torch.rand((3, *size), generator=g)
    places = torch.stack([ranks(loss, loss), *(ranks(field, field) for field in random)])
    n, seen = loss.numel(), []
    curves = perturbation_curves(linear(weights, seen), x, empty, places, n_steps=n, batch_size=5)
    assert sum(seen) == 2 + 2 * 4 * (n - 1)
    assert max(seen) <= 5
    lost = torch.cat([torch.zeros(1).double(), loss.flatten().sort(descending=True).values.cumsum(0)])
    whole, nothing = (weights * x).sum(), (weights * empty).sum()
    assert_close(curves.shares, torch.arange(n + 1).double() / n)
    assert_close(curves.deletion[0], whole - lost)
    assert_close(curves.insertion[0], nothing + lost)
    deletion, insertion = curves.areas()
    # Nothing can be better than the contributions themselves.
    assert (deletion[0] <= deletion + 1e-12).all()
    assert (insertion[0] >= insertion - 1e-12).all()
    # Of a linear function the two curves mirror each other.
    assert_close(deletion + insertion, (whole + nothing).expand(4))


def test_fewer_positions_than_steps_and_half_precision() -> None:
    x = torch.tensor([[[3.0, 1.0]]]).half()
    places = torch.tensor([[[0, 1]]])
    weights = torch.ones(1, 1, 2).double()
    curves = perturbation_curves(linear(weights), x, torch.zeros_like(x), places, n_steps=4, batch_size=9)
    assert curves.shares.tolist() == [0, 0, 0.5, 1, 1]
    assert curves.deletion.tolist() == [[4, 4, 1, 0, 0]]
    assert curves.areas()[0].tolist() == [0.5 * (2.5 + 0.5)]
