"""A table's tokens, compressed."""

from torch import Tensor, nn

from mmfusion.layers.compression import TokenShape, create_compression
from mmfusion.registry import Choice
from mmfusion.tokenizers.tabular.base import TabularTokenizer
from mmfusion.tokens import Table, Tokens


class Compressed(nn.Module):
    """A tabular tokenizer whose tokens are compressed to latents.

    CFCML (arXiv 2603.20016, MG-CIE) brings the table's tokens to ``n_latents`` with the compression that it uses for
    images.

    Args:
        tokenizer: A tabular tokenizer.
        n_latents: Tokens that go out.
        compression: A registered token compression, or a mapping with ``name`` and options; see
            :mod:`mmfusion.layers.compression`.
    """

    def __init__(self, tokenizer: TabularTokenizer, *, n_latents: int, compression: Choice = "conv") -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.columns = tokenizer.columns
        self.dim = tokenizer.dim
        self.n_tokens = n_latents
        shape = TokenShape(tokenizer.n_tokens, tokenizer.dim)
        self.compress = create_compression(compression, shape, n_latents=n_latents)

    @property
    def needs_rows(self) -> bool:
        """Whether :meth:`fit` learns anything."""
        return self.tokenizer.needs_rows

    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Fit the tokenizer; see :meth:`~mmfusion.tokenizers.tabular.TabularTokenizer.fit`."""
        self.tokenizer.fit(table, labels)

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """Compressed tokens.

        Args:
            table: As the tokenizer takes it.

        Returns:
            One set of ``n_latents`` tokens a set of the tokenizer's; all masked for a case whose every token is.
        """
        compressed = []
        for tokens in self.tokenizer(table):
            x = self.compress(tokens)
            mask = None if tokens.mask is None else tokens.mask.any(1, keepdim=True).expand(-1, x.shape[1])
            compressed.append(Tokens(x, mask))
        return tuple(compressed)
