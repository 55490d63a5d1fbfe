"""From an encoder's maps to image tokens, one set a stage."""

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from mmfusion.layers.compression import TokenShape, create_compression
from mmfusion.options import Count, StageIndex, Width
from mmfusion.registry import Choice, image_tokenizers
from mmfusion.spec import Image
from mmfusion.tokens import Tokens


def map_tokens(feature_map: Tensor) -> Tokens:
    """Positions of a map as tokens, in row-major order: ``(b, c, *spatial)`` to ``(b, n, c)``."""
    return Tokens(feature_map.flatten(2).transpose(1, 2))


class ImageTokenizer(nn.Module):
    """What image tokenizers share: the image they are for, and the check of what comes.

    Token counts and channels are those of an encoder's maps, known after :meth:`bind`, which a
    :class:`~mmfusion.models.FusionModel` calls with the maps of a dry run.

    Args:
        image: The modality.
        dim: Width of the tokens.
    """

    def __init__(self, image: Image, *, dim: Width) -> None:
        super().__init__()
        self.image = image
        self.dim = dim
        self.map_shapes: tuple[tuple[int, ...], ...] | None = None

    def bind(self, maps: Sequence[Tensor]) -> None:
        """Build for an encoder.

        Args:
            maps: One map a stage, ``(b, c, *spatial)``, on any device; only shapes are looked at.

        Raises:
            ValueError: If it is bound to maps of other shapes already.
        """
        shapes = tuple(tuple(m.shape[1:]) for m in maps)
        if self.map_shapes is not None:
            if self.map_shapes != shapes:
                raise ValueError(f"this tokenizer is bound to maps of {self.map_shapes}, got {shapes}")
            return
        self.map_shapes = shapes
        self.build(shapes)
        self.to(maps[0].dtype)

    def build(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Make the parameters for maps of these shapes, ``(c, *spatial)`` a stage."""
        raise NotImplementedError("an image tokenizer defines build()")  # abstract

    def check(self, maps: Sequence[Tensor]) -> None:
        """Refuse maps of other shapes than those it was bound to.

        Raises:
            ValueError: Saying what was expected and what came.
        """
        if self.map_shapes is None:
            raise ValueError(
                "this tokenizer is not bound to an encoder yet: put it into a FusionModel, or call bind(maps)"
            )
        shapes = tuple(tuple(m.shape[1:]) for m in maps)
        if shapes != self.map_shapes:
            raise ValueError(
                f"maps of {self.map_shapes} are expected, got {shapes}: the image size must be {self.image.size}"
            )


@image_tokenizers.register("pyramid")
class Pyramid(ImageTokenizer):
    """Multi-granularity tokens: every stage's map, compressed to latents and projected to one width.

    ``p[s] = U[s](compress[s](map[s]))`` (CFCML, arXiv 2603.20016, MG-CIE): compression over the positions first, then
    a linear map of the channels, which is left out where they are ``dim`` already, as published.

    Args:
        image: The modality.
        dim: Width of the tokens.
        n_latents: Tokens a stage.
        compression: A registered token compression, or a mapping with ``name`` and options; see
            :mod:`mmfusion.layers.compression`.
        detach: Stages, counted from 0, whose map sends no gradient to the encoder. The published Derm7pt model
            detaches all but the last.
    """

    def __init__(
        self,
        image: Image,
        *,
        dim: Width,
        n_latents: Count = 32,
        compression: Choice = "conv",
        detach: Collection[StageIndex] = (),
    ) -> None:
        super().__init__(image, dim=dim)
        self.n_latents = n_latents
        self.compression = compression
        self.detach = frozenset(detach)

    def build(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Make the parameters for maps of these shapes, ``(c, *spatial)`` a stage."""
        wrong = sorted(self.detach - set(range(len(shapes))))
        if wrong:
            raise ValueError(f"detach names stages {wrong}, the encoder has the stages 0 to {len(shapes) - 1}")
        self.compress = nn.ModuleList()
        self.project = nn.ModuleList()
        for shape in map(TokenShape.of_map, shapes):
            self.compress.append(create_compression(self.compression, shape, n_latents=self.n_latents))
            self.project.append(nn.Identity() if shape.dim == self.dim else nn.Linear(shape.dim, self.dim))

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tokens, ...]:
        """Tokens of every stage.

        Args:
            maps: One map a stage, ``(b, c, *spatial)``.

        Returns:
            One set of ``n_latents`` tokens a stage, in network order.
        """
        self.check(maps)
        return tuple(
            Tokens(project(compress(map_tokens(m.detach() if s in self.detach else m))))
            for s, (m, compress, project) in enumerate(zip(maps, self.compress, self.project, strict=True))
        )


@image_tokenizers.register("pool")
class Pool(ImageTokenizer):
    """One token an image: the mean over the positions of the last map, projected.

    Args:
        image: The modality.
        dim: Width of the token.
    """

    def build(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Make the parameters for maps of these shapes, ``(c, *spatial)`` a stage."""
        self.project = nn.Linear(shapes[-1][0], self.dim)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tokens, ...]:
        """One set of a single token.

        Args:
            maps: One map a stage, ``(b, c, *spatial)``; the last is used.

        Returns:
            One set of tokens, shape ``(b, 1, dim)``.
        """
        self.check(maps)
        return (Tokens(self.project(maps[-1].flatten(2).mean(-1)).unsqueeze(1)),)
