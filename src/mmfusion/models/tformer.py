"""TFormer: the throughout fusion transformer (Zhang et al., 2023)."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from mmfusion.heads import ConcatHead
from mmfusion.interactions.blocks import CrossBlock, there
from mmfusion.interactions.enhancement import join
from mmfusion.layers.compression.pool import averages
from mmfusion.layers.windows import WindowCrossBlock, Windows
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, build_objective
from mmfusion.models.parts import image_encoders
from mmfusion.options import Depth, Dropout, Expansion, Heads, Length, Name, Probability, Range, Width, Widths
from mmfusion.readouts import Stages, masked_mean
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec
from mmfusion.tokenizers import Patches, create_tabular_tokenizer
from mmfusion.tokenizers.image import ImageTokenizer
from mmfusion.tokens import Tokens

DEPTHS = (1, 1, 2, 1)


def shrunk(x: Tensor, grid: tuple[int, ...], target: tuple[int, ...]) -> Tensor:
    """Averages of the positions of a grid, by adaptive pooling: ``(b, n, d)`` to ``(b, n_target, d)``, row-major."""
    x = x.reshape(len(x), *grid, x.shape[2])
    for axis, (n, k) in enumerate(zip(grid, target, strict=True), start=1):
        if n != k:
            x = torch.tensordot(x, averages(n, k, x), dims=([axis], [1])).movedim(-1, axis)
    return x.flatten(1, -2)


class Merge(nn.Module):
    """From one stage's grid to the next one's: averages of the positions, normalised, through a linear map.

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


class ThroughoutFusion(nn.Module):
    """A stream of fusion beside the encoder, from its first stage to its last, and a table that asks its end.

    At each stage the images' maps come in, shrunk to the size of the next stage's as in the paper, where a stage ends
    with that; what the stage before made of them is added, and windowed cross-attention between the images follows, in
    one or more layers. At the end the positions are averaged. The table's token asks the positions of all images.

    The parts depend on the grids of the encoder's maps, and are built by :meth:`bind`.

    Args:
        images: The images' tokenizers by name, whose maps have the same grids.
        tables: Names of the tables.
        dim: Width of the tokens.
        depths: Layers at each stage.
        window: Positions of a window along each axis.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        dropout: Probability in the feed-forwards.

    Raises:
        ValueError: If a depth or ``window`` is not positive.
    """

    def __init__(
        self,
        images: Mapping[str, ImageTokenizer],
        tables: Sequence[str],
        *,
        dim: int,
        depths: Sequence[int] = DEPTHS,
        window: int = 7,
        n_heads: int = 4,
        expansion: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if window < 1 or not depths or min(depths) < 1:
            raise ValueError(f"depths and window must be positive, got {tuple(depths)} and {window}")
        self.images, self.tables = tuple(images), tuple(tables)
        self.dim, self.depths, self.window = dim, tuple(depths), window
        self._options = {"n_heads": n_heads, "expansion": expansion, "dropout": dropout}
        # In a list, so that they are not this module's: they are looked at once, when they are bound themselves.
        self._tokenizers = list(images.values())
        self.stages: nn.ModuleList | None = None
        self.shrinks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()
        self.project = nn.ModuleDict({name: nn.Sequential(nn.Linear(dim, dim), nn.ReLU()) for name in self.images})
        # Options of several types in one dict are more than mypy follows.
        self.ask = nn.ModuleDict({name: CrossBlock(dim, **self._options) for name in self.tables})  # type: ignore[arg-type]

    def bind(self, stages: Stages) -> None:
        """Build for an encoder; a fusion model calls it with the stages of a dry run.

        Raises:
            ValueError: If there are not as many stages as depths, or the images' maps differ.
        """
        if self.stages is not None:
            return
        shapes = {tuple(shape[1:] for shape in one.map_shapes or ()) for one in self._tokenizers}
        if len(shapes) != 1 or len(stages) != len(self.depths):
            raise ValueError(
                f"{len(self.depths)} depths need maps of as many stages, of the same grids for all images; there are "
                f"{len(stages)} stages and the grids {sorted(shapes)}"
            )
        (maps,) = shapes
        grids = (*maps[1:], maps[-1])
        self.shrinks = tuple(zip(maps, grids, strict=True))
        self.stages = nn.ModuleList(
            nn.ModuleList(self._layer(grid, shift=index % 2 == 1) for index in range(depth))
            for grid, depth in zip(grids, self.depths, strict=True)
        )
        self.merges = nn.ModuleList(
            nn.ModuleDict(
                {name: nn.Identity() if grid == target else Merge(grid, target, dim=self.dim) for name in self.images}
            )
            for grid, target in itertools.pairwise(grids)
        )
        self._tokenizers = []
        self.to(stages[-1][self.images[0]].x.dtype)

    def _layer(self, grid: tuple[int, ...], *, shift: bool) -> nn.ModuleDict:
        windows = Windows(grid, window=self.window, shift=shift)
        return nn.ModuleDict(
            {name: WindowCrossBlock(windows, dim=self.dim, **self._options) for name in self.images}  # type: ignore[arg-type]  # as above
        )

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` a modality; zeros where a case lacks it."""
        if self.stages is None:
            raise ValueError("this readout is not bound yet: put it into a FusionModel, or call bind(stages)")
        fused: dict[str, Tensor] = {}
        for s, stage in enumerate(stages):
            own = {name: shrunk(stage[name].filled(), *self.shrinks[s]) for name in self.images}
            if s:
                merges = cast("nn.ModuleDict", self.merges[s - 1])
                own = {name: x + merges[name](fused[name]) for name, x in own.items()}
            has = {name: there(stage[name]) for name in self.images}
            fused = self._fused(cast("nn.ModuleList", self.stages[s]), own, has)
        last = stages[-1]
        tokens = {
            name: Tokens(x, last[name].mask) for name, x in fused.items()
        }  # as many as the last map has positions
        embeddings = {name: _where(there(one), self.project[name](masked_mean(one))) for name, one in tokens.items()}
        context = join(list(tokens.values()))
        for name in self.tables:
            table = last[name]
            answer = self.ask[name](masked_mean(table).unsqueeze(1), context).squeeze(1)
            embeddings[name] = _where(there(table), answer)
        return {name: embeddings[name] for name in last}

    def _fused(self, layers: nn.ModuleList, x: dict[str, Tensor], has: dict[str, Tensor | None]) -> dict[str, Tensor]:
        for layer in layers:
            blocks = cast("nn.ModuleDict", layer)
            x = {
                name: blocks[name](
                    own,
                    [other for key, other in x.items() if key != name],
                    [has[name], *(row for key, row in has.items() if key != name)],
                )
                for name, own in x.items()
            }
        return x


def _where(has: Tensor | None, x: Tensor) -> Tensor:
    return x if has is None else torch.where(has.unsqueeze(1), x, 0.0)


@models.register("tformer")
def tformer(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    depths: Annotated[Sequence[Depth], Length(1, 16)] = DEPTHS,
    window: Annotated[int, Range(1, 1024)] = 7,
    n_heads: Heads = 4,
    expansion: Expansion = 1.0,
    block_dropout: Dropout = 0.0,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Images fused within windows at every stage, and a table that asks them at the end (arXiv 2211.11393).

    The encoder runs for each image by itself; the fusion is a stream beside it.

    NOTE[DIFF] All stages' tokens are projected to ``dim``, the paper's stream has the encoder's channels; and averages
    instead of neighbours side by side go from stage to stage, so that any encoder will do. NOTE[DIFF] The images of a
    layer see each other as they came in, so that their order has no meaning; in the authors' code the second sees the
    first as it became, and tokens are added twice. NOTE[DIFF] The table asks the positions of the images; in that code
    it asks their averages. NOTE[DIFF] All images and the table's answer go to the head; there it is the dermoscopic one
    and the answer. NOTE[DIFF] In 3D windows are cubes; the paper is 2D.

    Args:
        spec: The data; images of one size, any table.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of the tokens.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        depths: Layers of the fusion at each of the last stages of the encoder; in every second one of a stage the
            windows are shifted.
        window: Positions of a window along each axis.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        block_dropout: Probability in the feed-forwards.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no image, images of several sizes, or an option is out of range.
    """
    if not spec.images:
        raise ValueError(f"'tformer' needs an image modality, the spec has {spec.names}")
    sizes = {name: image.size for name, image in spec.images.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"'tformer' compares windows of images of one size, the spec has {sizes}: resize them")
    encoders, routes = image_encoders(
        spec, encoder=encoder, weights=weights, shared=shared_encoder, n_stages=len(depths)
    )
    images = {name: Patches(spec[name], dim=dim, stages="all", positions=False, norm=True) for name in spec.images}
    tokenizers: dict[str, nn.Module] = {
        name: images[name] if name in images else create_tabular_tokenizer(tabular_tokenizer, spec[name], dim=dim)
        for name in spec.names
    }
    return FusionModel(
        encoders=encoders,
        routes=routes,
        tokenizers=tokenizers,
        readout=ThroughoutFusion(
            images,
            tuple(spec.tables),
            dim=dim,
            depths=depths,
            window=window,
            n_heads=n_heads,
            expansion=expansion,
            dropout=block_dropout,
        ),
        head=ConcatHead(spec, dim=dim, hidden=hidden, dropout=dropout),
        objective=build_objective(
            spec, dim=dim, terms=terms, classification=classification, label_smoothing=label_smoothing
        ),
    )
