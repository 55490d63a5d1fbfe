"""Positions of feature maps as tokens."""

from collections.abc import Sequence
from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from mmfusion.layers.compression.resampler import GridPosition
from mmfusion.options import Range, Width
from mmfusion.registry import image_tokenizers
from mmfusion.spec import Image
from mmfusion.tokenizers.image import ImageTokenizer, map_tokens
from mmfusion.tokens import Tokens


@image_tokenizers.register("patches")
class Patches(ImageTokenizer):
    """A token for each position of the map, projected, with a vector of where it stands.

    Attention does not see the order of tokens. The vector is a linear map of Fourier features of the coordinates, see
    :class:`~mmfusion.layers.compression.resampler.GridPosition`: added here, it is the same as the features
    concatenated ahead of the projection. No parameter depends on the image's size.

    Args:
        image: The modality.
        map_shapes: Shapes of the encoder's maps, ``(c, *spatial)`` per stage.
        dim: Width of the tokens.
        stages: ``"last"``: the last stage's map; ``"all"``: one set per stage.
        positions: Tell the positions apart.
        cls: Put a learned token before the others, to read the image out from.
        norm: Normalize the projected tokens.
        n_bands: Frequencies of the positions along each axis.

    Raises:
        ValueError: If ``stages`` is neither.
    """

    def __init__(
        self,
        image: Image,
        map_shapes: Sequence[Sequence[int]],
        *,
        dim: Width,
        stages: Literal["last", "all"] = "last",
        positions: bool = True,
        cls: bool = False,
        norm: bool = False,
        n_bands: Annotated[int, Range(1, 64)] = 8,
    ) -> None:
        super().__init__(image, map_shapes, dim=dim)
        self.stages = stages
        self.positions = positions
        self.cls = nn.Parameter(torch.empty(1, 1, dim)) if cls else None
        if self.cls is not None:
            nn.init.normal_(self.cls, std=0.02)
        used = self.map_shapes[-1:] if stages == "last" else self.map_shapes
        self.project = nn.ModuleList(nn.Linear(shape[0], dim) for shape in used)
        self.position = nn.ModuleList(
            GridPosition(dim, n_axes=len(shape) - 1, n_bands=n_bands) for shape in used if positions
        )
        self.normalize = nn.ModuleList(nn.LayerNorm(dim) if norm else nn.Identity() for _ in used)

    def grid(self, stage: int) -> tuple[int, ...] | None:
        """The positions along each axis; None with a [CLS]."""
        used = self.map_shapes[-1:] if self.stages == "last" else self.map_shapes
        return None if self.cls is not None else used[stage][1:]

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tokens, ...]:
        """Tokens of the last stage, or of every one.

        Args:
            maps: One map per stage, ``(b, c, *spatial)``.

        Returns:
            One set of as many tokens as the map has positions, in row-major order, and one before them for ``cls``.
        """
        self.check(maps)
        used = maps[-1:] if self.stages == "last" else maps
        return tuple(Tokens(self._tokens(s, stage_map)) for s, stage_map in enumerate(used))

    def _tokens(self, stage: int, feature_map: Tensor) -> Tensor:
        x = self.project[stage](map_tokens(feature_map).x)
        if self.positions:
            x = x + cast("GridPosition", self.position[stage])(tuple(feature_map.shape[2:]))
        x = self.normalize[stage](x)
        return x if self.cls is None else torch.cat([self.cls.to(x.dtype).expand(x.shape[0], -1, -1), x], 1)
