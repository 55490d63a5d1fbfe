from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

import mmfusion as mmf
from mmfusion.spec import Image
from mmfusion.tokenizers import Patches, Pool, Pyramid
from mmfusion.tokenizers.image import ImageTokenizer, map_tokens

IMAGE = Image(1, (8, 8))


def maps(b: int = 2) -> list[Tensor]:
    return [torch.randn(b, 3, 4, 4), torch.randn(b, 6, 2, 2)]


def shapes(x: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(m.shape[1:]) for m in x]


def volumes(b: int = 2) -> list[Tensor]:
    return [torch.randn(b, 3, 4, 2, 2), torch.randn(b, 6, 2, 1, 1)]


def test_projection_keeps_row_major_order() -> None:
    x = torch.arange(8.0).view(1, 2, 2, 2)
    tokens = map_tokens(x)
    assert tokens.mask is None
    assert tokens.x.tolist() == [[[0, 4], [1, 5], [2, 6], [3, 7]]]


@pytest.mark.parametrize("made", [maps, volumes])
def test_pyramid_matches_reference(made: object) -> None:
    """``U(conv(positions))``; no U where the channels are ``dim`` already, as published."""
    x = made()
    tokenizer = Pyramid(IMAGE, shapes(x), dim=6, n_latents=5)
    first, second = tokenizer(x)
    assert first.mask is second.mask is None
    assert first.x.shape == second.x.shape == (2, 5, 6)
    assert isinstance(tokenizer.project[1], nn.Identity)
    compress = tokenizer.compress[0]
    latents = nn.functional.conv1d(x[0].flatten(2).mT, compress.weight, compress.bias, padding=1)
    torch.testing.assert_close(first.x, tokenizer.project[0](latents))


@pytest.mark.parametrize(("made", "cells"), [(maps, (2, 2)), (volumes, (2, 1, 2))])
def test_pyramid_passes_grid_and_options_to_compression(
    made: Callable[[], list[Tensor]], cells: tuple[int, ...]
) -> None:
    """Cells of the map's own grid, options that arrive, and each stage's own channels."""
    x = made()
    tokenizer = Pyramid(IMAGE, shapes(x), dim=6, n_latents=4, compression="pool")
    pooled = {2: nn.functional.adaptive_avg_pool2d, 3: nn.functional.adaptive_avg_pool3d}[len(cells)](x[0], cells)
    torch.testing.assert_close(tokenizer(x)[0].x, tokenizer.project[0](pooled.flatten(2).mT))
    tokenizer = Pyramid(
        IMAGE, shapes(x), dim=6, n_latents=2, compression={"name": "resampler", "depth": 3, "n_heads": 3}
    )
    assert [compress.grid for compress in tokenizer.compress] == [tuple(m.shape[2:]) for m in x]
    assert [compress.latents.shape for compress in tokenizer.compress] == [(2, 3), (2, 6)]
    assert [len(compress.blocks) for compress in tokenizer.compress] == [3, 3]


def test_pyramid_detaches_stages() -> None:
    x = [m.requires_grad_() for m in maps()]
    tokenizer = Pyramid(IMAGE, shapes(x), dim=6, n_latents=5, detach=[0])
    sum(tokens.x.sum() for tokens in tokenizer(x)).backward()
    assert x[0].grad is None
    assert x[1].grad is not None
    assert all(p.grad is not None for p in tokenizer.parameters())


def test_pyramid_detach_of_unknown_stage_raises() -> None:
    with pytest.raises(ValueError, match=r"detach names stages \[5, 2\], the encoder has the stages 0 to 1"):
        Pyramid(IMAGE, shapes(maps()), dim=6, detach=[0, 5, 2])


def test_pyramid_unknown_compression_raises() -> None:
    with pytest.raises(ValueError, match="unknown token compression 'cnv'; did you mean 'conv'"):
        Pyramid(IMAGE, shapes(maps()), dim=6, compression="cnv")
    with pytest.raises(ValueError, match="token compression 'conv' has no option 'kernel'"):
        Pyramid(IMAGE, shapes(maps()), dim=6, compression={"name": "conv", "kernel": 5})


def test_pool_is_projected_mean() -> None:
    x = maps()
    tokenizer = Pool(IMAGE, shapes(x), dim=4)
    (tokens,) = tokenizer(x)
    assert tokens.x.shape == (2, 1, 4)
    torch.testing.assert_close(tokens.x[:, 0], tokenizer.project(x[-1].mean((2, 3))))


@pytest.mark.parametrize("kind", [Pyramid, Pool, Patches])
def test_other_map_shapes_raise(kind: type[ImageTokenizer]) -> None:
    """Of another size, number or channels; the number of cases is free."""
    tokenizer = kind(IMAGE, shapes(maps()), dim=4)
    tokenizer(maps(5))
    for wrong in ([m[..., :1] for m in maps()], maps()[:1], [m[:, :2] for m in maps()]):
        with pytest.raises(ValueError, match=r"maps of .* are expected, got .*: the image size must be \(8, 8\)"):
            tokenizer(wrong)


@pytest.mark.parametrize("name", mmf.registry.image_tokenizers.list())
def test_image_tokenizers_give_unmasked_tokens_of_dim(name: str) -> None:
    """Unmasked tokens of the width asked for, in as many sets as it says, a case at a time."""
    tokenizer = mmf.registry.image_tokenizers.create(name, IMAGE, shapes(maps()), dim=4)
    x = maps(3)
    together = tokenizer(x)
    assert all(tokens.x.shape[0] == 3 and tokens.x.shape[2] == 4 for tokens in together)
    for i in range(3):
        for whole, one in zip(together, tokenizer([m[i : i + 1] for m in x]), strict=True):
            torch.testing.assert_close(whole.x[i : i + 1], one.x)
