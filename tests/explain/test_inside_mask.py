import torch

from mmfusion.explain.inside_mask import energy_inside, pointing
from mmfusion.explain.map_noise import noisy, relative_change


def test_energy_and_pointing_by_hand() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    heat = torch.tensor([[1.0, 3.0], [-5.0, 1.0]])
    assert energy_inside(heat, mask).item() == 0.8
    assert pointing(heat, mask).item() == 1
    assert pointing(-heat, mask).item() == 0
    assert energy_inside(-heat, mask).item() == 0
    assert pointing(torch.tensor([[2.0, 0.0], [2.0, 2.0]]), mask).item() == torch.tensor(1.0).double().div(3).item()
    several = torch.stack([heat, -heat])
    assert energy_inside(several, mask).tolist() == [0.8, 0]
    assert pointing(several, mask).tolist() == [1, 0]


def test_constant_map_has_share_of_mask() -> None:
    mask = torch.zeros(4, 4, 2, dtype=torch.bool)
    mask[0] = True
    for heat in (torch.zeros(4, 4, 2), torch.full((4, 4, 2), 0.7), torch.full((4, 4, 2), -1.0)):
        assert abs(energy_inside(heat, mask).item() - 0.25) < 1e-12
        assert pointing(heat, mask).item() == 0.25


def test_noise_is_in_range_with_given_size() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand((3, 2, 8, 8), generator=g)
    x[1] = 0.5
    other = noisy(x, 0.1, g)
    assert other.dtype == x.dtype
    assert torch.equal(other[1], x[1])
    for i in (0, 2):
        assert x[i].min() <= other[i].min()
        assert other[i].max() <= x[i].max()
        change = (other[i] - x[i]).abs().max() / x[i].std(correction=0)
        assert 0.09 < change.item() <= 0.1 + 1e-6


def test_relative_change_by_hand() -> None:
    heat = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]], [[0.0, 0.0]]]).double()
    other = torch.tensor([[[3.0, 3.0]], [[0.0, 0.0]], [[0.0, 2.0]]]).double()
    assert relative_change(heat, other).tolist() == [0.2, 0, 1]
