"""TIP: tabular-image pre-training (Du et al., 2024)."""

from pathlib import Path
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.heads import AverageHead
from mmfusion.interactions import Query
from mmfusion.interactions.self_attention import TransformerBlock
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, build_objective
from mmfusion.models.parts import image_encoders
from mmfusion.models.tip_pretraining import TipPretraining, first_of
from mmfusion.options import Depth, Dropout, Expansion, Heads, Name, Probability, Range, TemperatureValue, Width, Widths
from mmfusion.readouts import MeanReadout, Stages
from mmfusion.registry import Choice, models
from mmfusion.spec import Columns, DataSpec
from mmfusion.tokenizers import Patches, TabularTokenizer, create_tabular_tokenizer
from mmfusion.tokenizers.tabular import ColumnTokenizer, check_table
from mmfusion.tokens import Table, Tokens


class TableEncoder(nn.Module):
    """TIP's tabular encoder: a token a column, a [CLS] before them, and self-attention among them.

    A category's token is its embedding, a number's ``w x + b`` with one w and b for all columns; a missing or hidden
    cell's is a learned [MASK]. To each the vector of its column is added, then they are normalised. In the layers
    nothing attends to a cell that is not there, but it attends to the others: what comes out in its place is what they
    say of it (arXiv 2407.07582, section 2).

    Another tokenizer's tokens can take the cells' place, with a vector each instead of the columns'. Then what it makes
    of a missing cell stands for the [MASK], and where its tokens are not the columns', nothing attends to masked ones.

    NOTE[DIFF] A [MASK] does not attend to itself either; its shortcut carries it.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        depth: Layers.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; None: as above.
    """

    first_row: Tensor

    def __init__(
        self,
        columns: Columns,
        *,
        dim: int,
        depth: int = 4,
        n_heads: int = 4,
        expansion: float = 4.0,
        dropout: float = 0.0,
        tabular_tokenizer: Choice | None = None,
    ) -> None:
        super().__init__()
        self.columns = columns
        self.tokenizer = (
            None
            if tabular_tokenizer is None
            else create_tabular_tokenizer(tabular_tokenizer, columns, dim=dim, cls=True)
        )
        own, n_tokens = self.tokenizer is None, getattr(self.tokenizer, "n_tokens", 1 + len(columns))
        n_categories = sum(columns.cardinalities)
        self.number = nn.Linear(1, dim) if own and columns.numerical else None
        self.embedding = nn.Parameter(torch.empty(n_categories, dim)) if own and columns.categorical else None
        self.column = nn.Parameter(torch.empty(n_tokens, dim))
        self.cls = nn.Parameter(torch.empty(1, 1, dim)) if own else None
        self.mask = nn.Parameter(torch.empty(dim)) if own else None
        sizes = torch.tensor(columns.cardinalities, dtype=torch.int64)
        # In the state dict: a model built on the meta device gets it from there.
        self.register_buffer("first_row", sizes.cumsum(0) - sizes)
        for parameter in (self.embedding, self.column, self.cls, self.mask):
            if parameter is not None:
                nn.init.normal_(parameter, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, n_heads=n_heads, expansion=expansion, dropout=dropout) for _ in range(depth)
        )

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """Tokens of a batch of records.

        Args:
            table: Numerical ``(b, n_num)``, NaN missing; categorical ``(b, n_cat)`` int64, -1 missing.

        Returns:
            One set of tokens, the [CLS] and one a column in the spec's order, or the tokenizer's, all real.

        Raises:
            ValueError: If the table has other columns.
        """
        check_table(table, self.columns)
        x, known = self._own(table) if self.tokenizer is None else self._tokens(self.tokenizer, table)
        x = self.norm(x + self.column)
        for layer in self.blocks:
            block = cast("TransformerBlock", layer)
            normed = block.norm1(x)
            x = x + block.attention(normed, Tokens(normed, known))
            x = x + block.feed_forward(block.norm2(x))
        return (Tokens(x),)

    def _own(self, table: Table) -> tuple[Tensor, Tensor]:
        """The [CLS] and a vector a cell, and which of them are to be attended to."""
        cells = []
        if self.number is not None:
            numerical = table.numerical.to(self.column.dtype)
            # Zeros stand in for the missing: 0 times NaN is NaN, and an index of -1 is none.
            cells.append(self.number(torch.where(numerical.isnan(), 0.0, numerical).unsqueeze(-1)))
        if self.embedding is not None:
            cells.append(F.embedding(table.categorical.clamp(min=0) + self.first_row, self.embedding))
        known = _known_and_cls(table)
        x = torch.where(known[:, 1:].unsqueeze(-1), torch.cat(cells, 1), cast("Tensor", self.mask))
        return torch.cat([cast("Tensor", self.cls).to(x.dtype).expand(len(x), -1, -1), x], 1), known

    def _tokens(self, tokenizer: TabularTokenizer, table: Table) -> tuple[Tensor, Tensor | None]:
        """The tokenizer's, and which of them are to be attended to."""
        (tokens,) = tokenizer(table)
        return tokens.filled(), _known_and_cls(table) if isinstance(tokenizer, ColumnTokenizer) else tokens.mask


def _known_and_cls(table: Table) -> Tensor:
    """Of a [CLS] and the columns, which are there, shape ``(b, 1 + n_columns)``."""
    known = torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1)
    return torch.cat([torch.ones_like(known[:, :1]), known], 1)


class TipReadout(nn.Module):
    """The mean of an image's tokens, the [CLS] of the table's, and that of the table's after it asked the images.

    Args:
        table: Name of the table.
    """

    def __init__(self, table: str) -> None:
        super().__init__()
        self.firsts = (table, "joint")
        self.mean = MeanReadout()

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` a modality, and ``"joint"``; zeros where a case lacks the modality."""
        last = stages[-1]
        read: dict[str, Tensor] = self.mean(
            [{name: first_of(one) if name in self.firsts else one for name, one in last.items()}]
        )
        return read


@models.register("tip")
def tip(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice | None = None,
    table_depth: Depth = 4,
    joint_depth: Depth = 4,
    n_heads: Heads = 4,
    expansion: Expansion = 4.0,
    block_dropout: Dropout = 0.0,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    pretrain: bool = False,
    mask_rate: Annotated[float, Range(0, 1, above=True)] = 0.3,
    temperature: TemperatureValue = 0.1,
    projection: Width = 128,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """A table that fills its own gaps and asks the images; pretrained without labels if asked for (arXiv 2407.07582).

    The outputs are the mean of those of three classifiers: of the image, of the table's [CLS], and of the [CLS] after
    the table asked the images. Several images have a classifier each, and are asked together; a classifier whose
    modality a case lacks does not count.

    With ``pretrain`` there are two phases, ``"pretrain"`` and ``"finetune"``; see
    :class:`~mmfusion.models.tip_pretraining.TipPretraining`. ``train.phase_epochs.pretrain`` sets its epochs.

    NOTE[DIFF] The image's classifier works on its projected tokens' mean, of the width of the others; the paper's on
    the encoder's own channels. NOTE[DIFF] ``dim`` is 128; the paper's 512 with 8 heads and a ResNet-50.
    NOTE[DIFF] Classifiers have a hidden layer, as all models here; ``hidden=()`` is the paper's.

    Args:
        spec: The data; at least one image and exactly one table.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of the tokens.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`; None: TIP's own.
        table_depth: Layers of self-attention among the table's tokens, without which its [CLS] would know no cell; at
            least 1.
        joint_depth: Layers in which the table asks the images.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forwards over ``dim``.
        block_dropout: Probability in the feed-forwards.
        hidden: Widths of each classifier's hidden layers.
        dropout: Probability after each of them.
        pretrain: Add the phase of pretraining.
        mask_rate: Share of the columns hidden in it, above 0 and at most 1.
        temperature: Of its contrast (tau).
        projection: Width of what it contrasts.
        terms: More losses of the last phase; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no image or not one table, an option is out of range, or there is to be pretraining
            and the tabular tokenizer does not make one token a column.
    """
    if not spec.images or len(spec.tables) != 1:
        raise ValueError(f"'tip' needs an image modality and exactly one table, the spec has {spec.names}")
    if table_depth < 1:
        raise ValueError(f"table_depth must be at least 1, got {table_depth}")
    ((table, columns),) = spec.tables.items()
    encoders, routes = image_encoders(spec, encoder=encoder, weights=weights, shared=shared_encoder, n_stages=1)
    tokenizers: dict[str, nn.Module] = {
        name: Patches(spec[name], dim=dim, positions=False, norm=True)
        if name in spec.images
        else TableEncoder(
            columns,
            dim=dim,
            depth=table_depth,
            n_heads=n_heads,
            expansion=expansion,
            dropout=block_dropout,
            tabular_tokenizer=tabular_tokenizer,
        )
        for name in spec.names
    }
    other = cast("TableEncoder", tokenizers[table]).tokenizer
    if pretrain and not (other is None or isinstance(other, ColumnTokenizer)):
        raise ValueError(
            "TIP's pretraining tells a hidden cell from the token in its place, and the tabular tokenizer "
            f"{tabular_tokenizer!r} does not make one a column: take one that does, such as 'feature', or "
            "pretrain=False"
        )
    joint = Query(
        spec.names,
        dim=dim,
        queries=[table],
        depth=joint_depth,
        n_heads=n_heads,
        expansion=expansion,
        dropout=block_dropout,
    )
    return FusionModel(
        encoders=encoders,
        routes=routes,
        tokenizers=tokenizers,
        layers=[joint],
        readout=TipReadout(table),
        head=AverageHead(spec, names=(*spec.names, "joint"), dim=dim, hidden=hidden, dropout=dropout),
        objective=build_objective(
            spec, dim=dim, terms=terms, classification=classification, label_smoothing=label_smoothing
        ),
        pretraining=TipPretraining(
            tuple(spec.images),
            table,
            columns,
            dim=dim,
            projection=projection,
            temperature=temperature,
            mask_rate=mask_rate,
        )
        if pretrain
        else None,
    )
