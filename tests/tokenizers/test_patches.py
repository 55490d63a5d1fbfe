from typing import Any

import pytest
import torch

from mmfusion.layers.compression.resampler import GridPosition
from mmfusion.spec import Image
from mmfusion.tokenizers import Patches

IMAGES = {"2D": (Image(3, (16, 16)), [(4, 4, 3), (6, 2, 2)]), "3D": (Image(1, (8, 8, 8)), [(4, 2, 3, 4), (6, 1, 2, 2)])}


def built(kind: str, **options: Any) -> tuple[Patches, list[torch.Tensor]]:
    image, shapes = IMAGES[kind]
    return Patches(image, shapes, dim=8, **options).eval(), [torch.randn(2, *shape) for shape in shapes]


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("cls", [False, True])
def test_one_token_per_position(kind: str, cls: bool) -> None:
    """Row-major order: the projected channels of the position plus its vector; the learned token first."""
    tokenizer, maps = built(kind, cls=cls)
    (tokens,) = tokenizer(maps)
    grid = tuple(maps[-1].shape[2:])
    assert tokens.mask is None
    assert tokens.x.shape == (2, maps[-1][0, 0].numel() + cls, 8)
    where = tokenizer.position[0](grid)
    for i, index in enumerate(torch.cartesian_prod(*(torch.arange(n) for n in grid)).tolist()):
        expected = tokenizer.project[0](maps[-1][(slice(None), slice(None), *index)]) + where[i]
        torch.testing.assert_close(tokens.x[:, i + cls], expected)
    if cls:
        assert torch.equal(tokens.x[:, 0], tokenizer.cls[0].expand(2, -1))


@pytest.mark.parametrize("kind", IMAGES)
def test_all_stages_give_one_set_each(kind: str) -> None:
    tokenizer, maps = built(kind, stages="all", norm=True)
    sets = tokenizer(maps)
    assert [one.x.shape[1] for one in sets] == [m[0, 0].numel() for m in maps]
    for one in sets:
        torch.testing.assert_close(one.x.mean(-1), torch.zeros(one.x.shape[:2]), atol=1e-5, rtol=0)


def test_without_positions_equal_pixels_give_equal_tokens() -> None:
    tokenizer, maps = built("2D", positions=False)
    (tokens,) = tokenizer([maps[0], torch.ones(2, 6, 2, 2)])
    # Not to the last bit: a matrix product may sum one row in another order than the next.
    torch.testing.assert_close(tokens.x[:, 0], tokens.x[:, 3])
    tokenizer, maps = built("2D")
    (tokens,) = tokenizer([maps[0], torch.ones(2, 6, 2, 2)])
    assert not torch.allclose(tokens.x[:, 0], tokens.x[:, 3])


def test_weights_fit_other_image_size() -> None:
    small, _ = built("2D")
    large = Patches(Image(3, (64, 64)), [(4, 8, 6), (6, 4, 3)], dim=8)
    maps = [torch.randn(2, 4, 8, 6), torch.randn(2, 6, 4, 3)]
    large.load_state_dict(small.state_dict())
    assert large(maps)[0].x.shape == (2, 12, 8)
    assert isinstance(large.position[0], GridPosition)


def test_invalid_stages_raises() -> None:
    with pytest.raises(ValueError, match="stages expects one of last, all, got 'first'"):
        Patches(*IMAGES["2D"], dim=8, stages="first")


def test_grid_of_each_stage() -> None:
    """The positions of each stage; none with a [CLS] before them."""
    assert built("2D")[0].grid(0) == (2, 2)
    every, _ = built("3D", stages="all")
    assert [every.grid(s) for s in range(2)] == [(2, 3, 4), (1, 2, 2)]
    assert built("2D", cls=True)[0].grid(0) is None
