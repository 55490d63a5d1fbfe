"""A table's known cells, with self-attention among them."""

from functools import partial

from torch import nn

from mmfusion.layers.attention import TransformerBlock
from mmfusion.options import Depth, Dropout, Expansion, Heads, TabularTokenizerChoice, Width
from mmfusion.registry import Choice, named, table_encoders, tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import create_tabular_tokenizer
from mmfusion.tokens import Table, Tokens


@table_encoders.register("known_cells")
class KnownCells(nn.Module):
    """A table's known cells and a [CLS], with self-attention among them; missing cells are masked.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        of: A tabular tokenizer, a registered name or a mapping with its options. One that can mask missing cells does,
            unless the options have ``missing``.
        depth: Layers; at least 1, without which the [CLS] would know no cell.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        dropout: Probability in the feed-forward.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: Width,
        of: TabularTokenizerChoice = "feature",
        depth: Depth = 2,
        n_heads: Heads = 4,
        expansion: Expansion = 4.0,
        dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self.columns = columns
        self.cells = create_tabular_tokenizer(_masking(of), columns, dim=dim, cls=True)
        self.dim = dim
        self.n_tokens = self.cells.n_tokens
        block = partial(TransformerBlock, dim, n_heads=n_heads, expansion=expansion, dropout=dropout)
        self.blocks = nn.Sequential(*(block() for _ in range(depth)))

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """One set of tokens, the [CLS] and the tokenizer's; only missing cells are masked."""
        (tokens,) = self.cells(table)
        return (self.blocks(tokens),)


def _masking(of: Choice) -> Choice:
    """The same tokenizer, without its missing cells if it can be and its options do not say otherwise."""
    name, options = named(of, "tabular tokenizer")
    can = "missing" in tabular_tokenizers.options(name)
    return {"name": name, **({"missing": "mask"} if can else {}), **options}
