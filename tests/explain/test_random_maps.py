import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from mmfusion.explain.class_activation import resized
from mmfusion.explain.random_maps import is_constant, random_fields, ranks, with_values_of


def roughness(x: Tensor) -> Tensor:
    """Mean squared step between neighbors, by the variance; shape ``(n,)``."""
    return x.diff(dim=1).square().flatten(1).mean(1) / x.flatten(1).var(1)


def smooth(size: tuple[int, ...], seed: int = 0) -> Tensor:
    coarse = torch.rand((1, 1, *(4 for _ in size)), generator=torch.Generator().manual_seed(seed))
    return resized(coarse, size)[0, 0].double()


@pytest.mark.parametrize("size", [(32, 32), (16, 16, 8)])
def test_random_fields_match_smoothness_of_map(size: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    for heat in (smooth(size), torch.rand(size, generator=generator).double()):
        fields = random_fields(heat, 20, generator)
        assert fields.shape == (20, *size)
        assert float(roughness(fields).mean()) == pytest.approx(float(roughness(heat[None])), rel=0.25)
        # No place is preferred.
        assert float((fields > 0).double().mean()) == pytest.approx(0.5, abs=0.1)


def test_random_fields_depend_on_seed_only() -> None:
    heat = smooth((8, 8))
    before = torch.random.get_rng_state()
    first, again, other = (random_fields(heat, 2, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_ranks_break_ties_by_field() -> None:
    heat, field = torch.tensor([[0.0, 2.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [5.0, 9.0]])
    places = ranks(heat, field)
    assert places.tolist() == [[3, 0], [2, 1]]
    assert torch.equal(with_values_of(heat, places), heat)
    assert_close(with_values_of(heat, ranks(field, field)), torch.tensor([[0.0, 0.0], [1.0, 2.0]]))


def test_fields_of_a_constant_map_are_noise() -> None:
    heat = torch.full((6, 6), 0.3).double()
    assert is_constant(heat)
    fields = random_fields(heat, 2, torch.Generator().manual_seed(0))
    assert fields.isfinite().all()
    assert ranks(heat, fields[0]).flatten().unique().tolist() == list(range(36))
