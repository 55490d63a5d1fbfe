"""TIP's tabular encoder."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.layers.attention import TransformerBlock
from mmfusion.options import Depth, Dropout, Expansion, Heads, TabularTokenizerChoice, Width
from mmfusion.registry import table_encoders
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import TabularTokenizer, check_table, create_tabular_tokenizer, first_rows
from mmfusion.tokenizers.tabular.columns import ColumnTokenizer
from mmfusion.tokens import Table, Tokens


@table_encoders.register("tip")
class TipTableEncoder(nn.Module):
    """TIP's tabular encoder: one token per column, a [CLS] before them, and self-attention among them.

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
        of: A tabular tokenizer in the cells' place, a registered name or a mapping with its options; None: as above.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: Width,
        depth: Depth = 4,
        n_heads: Heads = 4,
        expansion: Expansion = 4.0,
        dropout: Dropout = 0.0,
        of: TabularTokenizerChoice | None = None,
    ) -> None:
        super().__init__()
        self.columns = columns
        self.tokenizer = None if of is None else create_tabular_tokenizer(of, columns, dim=dim, cls=True)
        self.dim = dim
        self.n_tokens = 1 + len(columns) if self.tokenizer is None else self.tokenizer.n_tokens
        cells = self.tokenizer is None
        # Such that a hidden cell is predicted from its own token.
        self.separates_columns = cells or isinstance(self.tokenizer, ColumnTokenizer)
        n_categories = sum(columns.cardinalities)
        self.number = nn.Linear(1, dim) if cells and columns.numerical else None
        self.embedding = nn.Parameter(torch.empty(n_categories, dim)) if cells and columns.categorical else None
        self.column = nn.Parameter(torch.empty(self.n_tokens, dim))
        self.cls = nn.Parameter(torch.empty(1, 1, dim)) if cells else None
        self.mask = nn.Parameter(torch.empty(dim)) if cells else None
        # In the state dict: a model built on the meta device gets it from there.
        self.first_row = nn.Buffer(first_rows(columns))
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
            One set of tokens, the [CLS] and one per column in the spec's order, or the tokenizer's, all real.

        Raises:
            ValueError: If the table has other columns.
        """
        check_table(table, self.columns)
        x, known = self._cells(table) if self.tokenizer is None else self._tokens(self.tokenizer, table)
        x = self.norm(x + self.column)
        for layer in self.blocks:
            block = cast("TransformerBlock", layer)
            normed = block.norm1(x)
            x = block.looking_at(Tokens(normed, known), x, normed)
        return (Tokens(x),)

    def _cells(self, table: Table) -> tuple[Tensor, Tensor]:
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
        return torch.cat([cast("Tensor", self.cls).to(x.dtype).expand(x.shape[0], -1, -1), x], 1), known

    def _tokens(self, tokenizer: TabularTokenizer, table: Table) -> tuple[Tensor, Tensor | None]:
        """The tokenizer's, and which of them are to be attended to."""
        (tokens,) = tokenizer(table)
        return tokens.filled(), _known_and_cls(table) if isinstance(tokenizer, ColumnTokenizer) else tokens.mask


def _known_and_cls(table: Table) -> Tensor:
    """Of a [CLS] and the columns, which are there, shape ``(b, 1 + n_columns)``."""
    known = torch.cat([~table.numerical.isnan(), table.categorical >= 0], 1)
    return torch.cat([torch.ones_like(known[:, :1]), known], 1)
