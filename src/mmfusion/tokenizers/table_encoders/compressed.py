"""A table's tokens, compressed to latents."""

from torch import nn

from mmfusion.layers.compression import create_compression
from mmfusion.options import CompressionChoice, Count, TabularTokenizerChoice, Width
from mmfusion.registry import table_encoders
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import create_tabular_tokenizer
from mmfusion.tokens import Table, Tokens, TokenShape


@table_encoders.register("compressed")
class CompressedTable(nn.Module):
    """The tokens of a tabular tokenizer, compressed to latents.

    CFCML (arXiv 2603.20016, MG-CIE) brings the table's tokens to ``n_latents`` with the compression that it uses for
    images.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        of: A tabular tokenizer, a registered name or a mapping with its options.
        n_latents: Tokens that go out.
        compression: A registered token compression, or a mapping with ``name`` and options; see
            :mod:`mmfusion.layers.compression`.
    """

    def __init__(
        self,
        columns: Columns,
        *,
        dim: Width,
        of: TabularTokenizerChoice = "feature",
        n_latents: Count = 24,
        compression: CompressionChoice = "pool",
    ) -> None:
        super().__init__()
        self.columns = columns
        self.dim = dim
        self.n_tokens = n_latents
        self.tokenizer = create_tabular_tokenizer(of, columns, dim=dim)
        shape = TokenShape(self.tokenizer.n_tokens, dim)
        self.compress = create_compression(compression, shape, n_latents=n_latents)

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """Compressed tokens.

        Args:
            table: Numerical ``(b, n_num)``, NaN missing; categorical ``(b, n_cat)`` int64, -1 missing.

        Returns:
            One set of ``n_latents`` tokens; all masked for a case whose every token is.
        """
        (tokens,) = self.tokenizer(table)
        x = self.compress(tokens)
        mask = None if tokens.mask is None else tokens.mask.any(1, keepdim=True).expand(-1, x.shape[1])
        return (Tokens(x, mask),)
