"""The gated cross-attention of RoVTL (Hasny et al., 2025)."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from mmfusion.heads import ConcatHead
from mmfusion.interactions import GatedQuery
from mmfusion.interactions.self_attention import TransformerBlock
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, build_objective
from mmfusion.models.parts import image_encoders
from mmfusion.options import Depth, Dropout, Expansion, Heads, Name, Probability, Width, Widths
from mmfusion.readouts import FirstReadout, MeanReadout, Stages
from mmfusion.registry import Choice, models, tabular_tokenizers
from mmfusion.spec import Columns, DataSpec
from mmfusion.tokenizers import Patches, create_tabular_tokenizer
from mmfusion.tokens import Table, Tokens


class KnownCells(nn.Module):
    """A table's known cells and a [CLS], with self-attention among them; missing cells are masked.

    Args:
        columns: The modality.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options. One that can mask
            missing cells does, unless they say ``missing``.
        dim: Width of the tokens.
        depth: Layers.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: int,
        depth: int,
        n_heads: int,
        expansion: float,
        dropout: float,
        tabular_tokenizer: Choice = "feature",
    ) -> None:
        super().__init__()
        self.columns = columns
        self.cells = create_tabular_tokenizer(_masking(tabular_tokenizer), columns, dim=dim, cls=True)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, n_heads=n_heads, expansion=expansion, dropout=dropout) for _ in range(depth)
        )

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """One set of tokens, the [CLS] and the tokenizer's; only missing cells are masked."""
        (tokens,) = self.cells(table)
        for block in self.blocks:
            tokens = cast("TransformerBlock", block)(tokens)
        return (tokens,)


def _masking(choice: Choice) -> Choice:
    """The same tokenizer, without its missing cells if it can be and its options do not say otherwise."""
    options = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = options.get("name")
    can = isinstance(name, str) and "missing" in tabular_tokenizers.options(name)
    return {"missing": "mask", **options} if can else options


class GatedReadout(nn.Module):
    """The mean of an image's tokens, and the [CLS] of a table's.

    Args:
        tables: Names of the tables.
    """

    def __init__(self, tables: Sequence[str]) -> None:
        super().__init__()
        self.tables = tuple(tables)
        self.mean, self.first = MeanReadout(), FirstReadout()

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` a modality."""
        last = stages[-1]
        firsts = self.first([{name: last[name] for name in self.tables}])
        means = self.mean([{name: one for name, one in last.items() if name not in firsts}])
        return {name: firsts[name] if name in firsts else means[name] for name in last}


@models.register("gated-query")
def gated_query(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "feature",
    depth: Depth = 4,
    table_depth: Depth = 2,
    n_heads: Heads = 4,
    expansion: Expansion = 4.0,
    block_dropout: Dropout = 0.0,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Images that ask a table as much as the table's gate lets through (arXiv 2512.19602).

    In 4 layers an image's tokens attend to each other and to the known cells of the table, whose [CLS] sets a gate a
    layer; where the table is missing, or all of its cells are, the gate is exactly 0 and the image is on its own.
    Several tables are asked one after the other. The outputs come from the images' tokens alone: a case without an
    image is predicted from nothing.

    NOTE[DIFF] This is the paper's fusion, without its training: the contrastive pretraining, the loss that ranks more
    against fewer cells, and the unimodal heads whose gradients are kept apart. NOTE[DIFF] The table's encoder is a
    transformer of its own instead of the pretrained TARTE. NOTE[DIFF] The tokens of a map get vectors of their
    position. NOTE[DIFF] Gates have GELU instead of ReLU, and the classifier a hidden layer, as all models here.

    Args:
        spec: The data; at least one image and one table.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of the tokens.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`. Missing cells are masked unless its options say otherwise.
        depth: Layers in which the images ask.
        table_depth: Layers of self-attention among a table's tokens, without which its [CLS] would know no cell; at
            least 1.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        block_dropout: Probability in the feed-forwards and the gates.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no image or no table, or an option is out of range.
    """
    if not spec.images or not spec.tables:
        raise ValueError(f"'gated-query' needs an image modality and a table, the spec has {spec.names}")
    if table_depth < 1:
        raise ValueError(f"table_depth must be at least 1, got {table_depth}")
    encoders, routes = image_encoders(spec, encoder=encoder, weights=weights, shared=shared_encoder, n_stages=1)
    tokenizers: dict[str, nn.Module] = {
        name: Patches(spec[name], dim=dim)
        if name in spec.images
        else KnownCells(
            spec[name],
            dim=dim,
            depth=table_depth,
            n_heads=n_heads,
            expansion=expansion,
            dropout=block_dropout,
            tabular_tokenizer=tabular_tokenizer,
        )
        for name in spec.names
    }
    return FusionModel(
        encoders=encoders,
        routes=routes,
        tokenizers=tokenizers,
        layers=[
            GatedQuery(
                spec.names,
                dim=dim,
                sources=tuple(spec.tables),
                depth=depth,
                n_heads=n_heads,
                expansion=expansion,
                dropout=block_dropout,
            )
        ],
        readout=GatedReadout(tuple(spec.tables)),
        head=ConcatHead(spec.only(*spec.images), dim=dim, hidden=hidden, dropout=dropout),
        objective=build_objective(
            spec, dim=dim, terms=terms, classification=classification, label_smoothing=label_smoothing
        ),
    )
