"""TFormer's fusion of images within windows, throughout the stages."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import torch
from torch import Tensor, nn

from mmfusion.fusion.tokens.blocks import Attends, CrossBlock, has_tokens
from mmfusion.layers.compression.pool import averages
from mmfusion.layers.presence import where_present
from mmfusion.layers.windows import WindowCrossBlock, Windows
from mmfusion.options import Depth, Dropout, Expansion, Heads, Length, Range, Width
from mmfusion.pooling.base import Stages, masked_mean
from mmfusion.registry import poolings
from mmfusion.tokens import Tokens, TokenShape, join


def shrunk(x: Tensor, grid: tuple[int, ...], target: tuple[int, ...]) -> Tensor:
    """Averages of the positions of a grid, by adaptive pooling: ``(b, n, d)`` to ``(b, n_target, d)``, row-major."""
    x = x.reshape(x.shape[0], *grid, x.shape[2])
    for axis, (n, k) in enumerate(zip(grid, target, strict=True), start=1):
        if n != k:
            x = torch.tensordot(x, averages(n, k, x), dims=([axis], [1])).movedim(-1, axis)
    return x.flatten(1, -2)


class Merge(nn.Module):
    """From one stage's grid to the next one's: averages of the positions, normalized, through a linear map.

    Args:
        grid: Positions along each axis.
        target: Of the next stage.
        dim: Width of the tokens.
    """

    def __init__(self, grid: tuple[int, ...], target: tuple[int, ...], *, dim: int) -> None:
        super().__init__()
        self.grid, self.target = grid, target
        self.norm = nn.LayerNorm(dim)
        self.project = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(b, n, dim)`` to ``(b, n_target, dim)``."""
        out: Tensor = self.project(self.norm(shrunk(x, self.grid, self.target)))
        return out


@poolings.register("throughout")
class ThroughoutFusion(nn.Module):
    """TFormer's stream of fusion beside the encoder, from its first stage to its last, and tables that query its end.

    At each stage the images' maps come in, shrunk to the size of the next stage's as in the paper, where a stage ends
    with that; the output of the stage before is added, and windowed cross-attention between the images follows, in one
    or more layers. At the end the positions are averaged. A table's token queries the positions of all images (Zhang et
    al., 2023, arXiv 2211.11393).

    Args:
        stages: Shapes of the tokens, one dict per stage; those of images are the positions of maps.
        kinds: Which of the modalities are ``images`` and which ``tables``.
        dim: Width of the tokens.
        depths: Layers at each stage.
        window: Positions of a window along each axis.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        dropout: Probability in the feed-forwards.

    Raises:
        ValueError: If there are not as many stages as depths, no image, or the images' maps differ in their size.
    """

    def __init__(
        self,
        stages: Sequence[Mapping[str, TokenShape]],
        kinds: Mapping[str, Sequence[str]],
        *,
        dim: Width,
        depths: Annotated[Sequence[Depth], Length(1, 16)] = (1, 1, 2, 1),
        window: Annotated[int, Range(1, 1024)] = 7,
        n_heads: Heads = 4,
        expansion: Expansion = 1.0,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self.images, self.tables = tuple(kinds["images"]), tuple(kinds["tables"])
        if not self.images:
            raise ValueError(f"it needs an image modality, there are {self.tables}")
        maps = {name: tuple(stage[name].grid for stage in stages) for name in self.images}
        shape = maps[self.images[0]]
        if len(stages) != len(depths) or None in shape or any(other != shape for other in maps.values()):
            raise ValueError(
                f"{len(depths)} depths need tokens of as many stages, the positions of maps of one size for all "
                f"images; there are {len(stages)} stages with the positions {maps}: resize the images, or change depths"
            )
        grids = cast("tuple[tuple[int, ...], ...]", (*shape[1:], shape[-1]))
        self.shrinks = tuple(zip(cast("tuple[tuple[int, ...], ...]", shape), grids, strict=True))

        block: dict[str, Any] = {"dim": dim, "n_heads": n_heads, "expansion": expansion, "dropout": dropout}

        def layer(grid: tuple[int, ...], *, shift: bool) -> nn.ModuleDict:
            # Each block has windows of its own, so that a state dict holds every tensor once.
            windows = Windows(grid, window=window, shift=shift)
            return nn.ModuleDict({name: WindowCrossBlock(copy.deepcopy(windows), **block) for name in self.images})

        self.stages = nn.ModuleList(
            nn.ModuleList(layer(grid, shift=index % 2 == 1) for index in range(depth))
            for grid, depth in zip(grids, depths, strict=True)
        )
        self.merges = nn.ModuleList(
            nn.ModuleDict(
                {name: nn.Identity() if grid == target else Merge(grid, target, dim=dim) for name in self.images}
            )
            for grid, target in itertools.pairwise(grids)
        )
        self.project = nn.ModuleDict({name: nn.Sequential(nn.Linear(dim, dim), nn.ReLU()) for name in self.images})
        self.query = nn.ModuleDict({name: CrossBlock(**block) for name in self.tables})

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` per modality; zeros where a case lacks it."""
        fused: dict[str, Tensor] = {}
        for s, stage in enumerate(stages):
            stage_maps = {name: shrunk(stage[name].filled(), *self.shrinks[s]) for name in self.images}
            if s:
                merges = cast("nn.ModuleDict", self.merges[s - 1])
                stage_maps = {name: x + merges[name](fused[name]) for name, x in stage_maps.items()}
            has = {name: has_tokens(stage[name]) for name in self.images}
            fused = self._fused(cast("nn.ModuleList", self.stages[s]), stage_maps, has)
        last = stages[-1]
        tokens = {name: Tokens(x, last[name].mask) for name, x in fused.items()}  # the last map's positions
        embeddings = {
            name: where_present(self.project[name](masked_mean(of_name)), has_tokens(of_name), 0.0)
            for name, of_name in tokens.items()
        }
        context = join(list(tokens.values()))
        for name in self.tables:
            table = last[name]
            answer = self.query[name](masked_mean(table).unsqueeze(1), context).squeeze(1)
            embeddings[name] = where_present(answer, has_tokens(table), 0.0)
        return {name: embeddings[name] for name in last}

    def attends(self) -> list[Attends]:
        """Within windows at each stage, between maps shrunk to its grid; then each table's token of all positions."""
        among = [
            Attends(
                (name,),
                (name, *(other for other in self.images if other != name)),
                cast("WindowCrossBlock", block).windows,
                f"stages.{s}.{i}",
            )
            for s, layers in enumerate(self.stages)
            for i, blocks in enumerate(cast("nn.ModuleList", layers))
            for name, block in cast("nn.ModuleDict", blocks).items()
        ]
        return among + [Attends((name,), self.images, where="query") for name in self.tables]

    def _fused(self, layers: nn.ModuleList, x: dict[str, Tensor], has: dict[str, Tensor | None]) -> dict[str, Tensor]:
        for layer in layers:
            blocks = cast("nn.ModuleDict", layer)
            x = {
                name: blocks[name](
                    stage_maps,
                    [other for key, other in x.items() if key != name],
                    [has[name], *(row for key, row in has.items() if key != name)],
                )
                for name, stage_maps in x.items()
            }
        return x
