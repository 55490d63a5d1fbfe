"""Image tokenizers: base class, multi-granularity and pooled tokens."""

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from mmfusion.layers.compression import create_compression
from mmfusion.options import CompressionChoice, Count, StageIndex, Width
from mmfusion.registry import image_tokenizers
from mmfusion.spec import Image
from mmfusion.tokens import Tokens, TokenShape


def map_tokens(feature_map: Tensor) -> Tokens:
    """Positions of a map as tokens, in row-major order: ``(b, c, *spatial)`` to ``(b, n, c)``."""
    return Tokens(feature_map.flatten(2).transpose(1, 2))


class ImageTokenizer(nn.Module):
    """An encoder's maps to one set of tokens per stage, or one for all. A subclass defines ``forward(maps)``.

    Args:
        image: The modality.
        map_shapes: Shapes of the encoder's maps, ``(c, *spatial)`` per stage.
        dim: Width of the tokens.
    """

    def __init__(self, image: Image, map_shapes: Sequence[Sequence[int]], *, dim: Width) -> None:
        super().__init__()
        self.image = image
        self.map_shapes = tuple(tuple(shape) for shape in map_shapes)
        self.dim = dim

    def check(self, maps: Sequence[Tensor]) -> None:
        """Raise an error about maps of other shapes.

        Raises:
            ValueError: Saying what was expected and what came.
        """
        shapes = tuple(tuple(m.shape[1:]) for m in maps)
        if shapes != self.map_shapes:
            raise ValueError(
                f"maps of {self.map_shapes} are expected, got {shapes}: the image size must be {self.image.size}"
            )

    def grid(self, stage: int) -> tuple[int, ...] | None:
        """The positions along each axis, where a stage's tokens are a map's positions in row-major order."""
        return None


@image_tokenizers.register("pyramid")
class Pyramid(ImageTokenizer):
    """Multi-granularity tokens: every stage's map, compressed to latents and projected to one width.

    ``p[s] = U[s](compress[s](map[s]))`` (CFCML, arXiv 2603.20016, MG-CIE): compression over the positions first, then
    a linear map of the channels, which is left out where they are ``dim`` already, as published.

    Args:
        image: The modality.
        map_shapes: Shapes of the encoder's maps, ``(c, *spatial)`` per stage.
        dim: Width of the tokens.
        n_latents: Tokens per stage.
        compression: A registered token compression, or a mapping with ``name`` and options; see
            :mod:`mmfusion.layers.compression`.
        detach: Stages, counted from 0 or, negative, from the end, whose map sends no gradient to the encoder in
            training. The published Derm7pt model detaches all but the last.
    """

    def __init__(
        self,
        image: Image,
        map_shapes: Sequence[Sequence[int]],
        *,
        dim: Width,
        n_latents: Count = 32,
        compression: CompressionChoice = "conv",
        detach: Collection[StageIndex] = (),
    ) -> None:
        super().__init__(image, map_shapes, dim=dim)
        n_stages = len(self.map_shapes)
        if wrong := [s for s in detach if not -n_stages <= s < n_stages]:
            raise ValueError(f"detach names stages {wrong}, the encoder has the stages 0 to {n_stages - 1}")
        self.detach = frozenset(s % n_stages for s in detach)
        self.compress = nn.ModuleList()
        self.project = nn.ModuleList()
        for shape in map(TokenShape.of_map, self.map_shapes):
            self.compress.append(create_compression(compression, shape, n_latents=n_latents))
            self.project.append(nn.Identity() if shape.dim == dim else nn.Linear(shape.dim, dim))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tokens, ...]:
        """Tokens of every stage.

        Args:
            maps: One map per stage, ``(b, c, *spatial)``.

        Returns:
            One set of ``n_latents`` tokens a stage, in network order.
        """
        self.check(maps)
        return tuple(
            Tokens(project(compress(map_tokens(m.detach() if self.training and s in self.detach else m))))
            for s, (m, compress, project) in enumerate(zip(maps, self.compress, self.project, strict=True))
        )


@image_tokenizers.register("pool")
class Pool(ImageTokenizer):
    """One token an image: the mean over the positions of the last map, projected.

    Args:
        image: The modality.
        map_shapes: Shapes of the encoder's maps, ``(c, *spatial)`` per stage.
        dim: Width of the token.
    """

    def __init__(self, image: Image, map_shapes: Sequence[Sequence[int]], *, dim: Width) -> None:
        super().__init__(image, map_shapes, dim=dim)
        self.project = nn.Linear(self.map_shapes[-1][0], dim)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tokens, ...]:
        """One set of a single token.

        Args:
            maps: One map per stage, ``(b, c, *spatial)``; the last is used.

        Returns:
            One set of tokens, shape ``(b, 1, dim)``.
        """
        self.check(maps)
        return (Tokens(self.project(maps[-1].flatten(2).mean(-1)).unsqueeze(1)),)
