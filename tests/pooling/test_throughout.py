"""TFormer's stream beside the encoder, as a pooling; see also the model's tests."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from mmfusion.pooling import ThroughoutFusion
from mmfusion.pooling.throughout import Merge
from mmfusion.tokens import Tokens, TokenShape

KINDS = {"images": ("a", "b"), "tables": ("t",)}


def shapes(*grids: tuple[int, ...], other: tuple[int, ...] | None = None) -> list[dict[str, TokenShape]]:
    found = [
        {name: TokenShape.of_map((8, *grid)) for name in KINDS["images"]} | {"t": TokenShape(1, 8)} for grid in grids
    ]
    if other is not None:
        found[0]["b"] = TokenShape.of_map((8, *other))
    return found


@pytest.mark.parametrize(
    ("grid", "target"), [((6, 4), (3, 2)), ((5, 7), (3, 4)), ((3, 3), (3, 3)), ((4, 6, 5), (2, 3, 3))]
)
def test_merge_matches_adaptive_pooling(grid: tuple[int, ...], target: tuple[int, ...]) -> None:
    merge, n = Merge(grid, target, dim=5), torch.Size(grid).numel()
    x = torch.randn(2, n, 5)
    pool = F.adaptive_avg_pool2d if len(grid) == 2 else F.adaptive_avg_pool3d
    means = pool(x.transpose(1, 2).unflatten(2, grid), target).flatten(2).transpose(1, 2)
    torch.testing.assert_close(merge(x), merge.project(merge.norm(means)), rtol=1e-4, atol=1e-5)


def test_embeddings_of_all_modalities_have_shape() -> None:
    stages = shapes((4, 6), (2, 3))
    pooling = ThroughoutFusion(stages, KINDS, dim=8, depths=(1, 2), window=2).eval()
    tokens = [{name: Tokens(torch.randn(3, shape.n_tokens, 8)) for name, shape in stage.items()} for stage in stages]
    found = pooling(tokens)
    assert {name: tuple(x.shape) for name, x in found.items()} == dict.fromkeys(("a", "b", "t"), (3, 8))


@pytest.mark.parametrize(
    ("stages", "kinds", "message"),
    [
        (shapes((4, 4), (2, 2)), {"images": (), "tables": ("t",)}, r"needs an image modality, there are \('t',\)"),
        (shapes((4, 4)), KINDS, "2 depths need tokens of as many stages.* there are 1 stages"),
        (shapes((4, 4), (2, 2), other=(4, 5)), KINDS, "maps of one size for all images.*resize the images"),
        ([{"a": TokenShape(5, 8), "b": TokenShape(5, 8), "t": TokenShape(1, 8)}] * 2, KINDS, "the positions of maps"),
    ],
)
def test_invalid_stages_raise(stages: Any, kinds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ThroughoutFusion(stages, kinds, dim=8, depths=(1, 1), window=2)
