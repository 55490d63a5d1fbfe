"""A table's tokens as one, their mean."""

from torch import Tensor, nn

from mmfusion.tokenizers.tabular.base import TabularTokenizer
from mmfusion.tokens import Table, Tokens


class MeanToken(nn.Module):
    """A tabular tokenizer whose tokens are averaged to a single one, such as map fusions receive.

    Args:
        tokenizer: A tabular tokenizer.
    """

    def __init__(self, tokenizer: TabularTokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.columns = tokenizer.columns
        self.dim = tokenizer.dim
        self.n_tokens = 1
        self.needs_rows = tokenizer.needs_rows

    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Fit the tokenizer; see :meth:`~mmfusion.tokenizers.TabularTokenizer.fit`."""
        self.tokenizer.fit(table, labels)

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """The mean of the tokens that are real.

        Args:
            table: As the tokenizer takes it.

        Returns:
            One set of a single token, shape ``(b, 1, dim)``; masked for a case without any real token.
        """
        (tokens,) = self.tokenizer(table)
        if tokens.mask is None:
            return (Tokens(tokens.x.mean(1, keepdim=True)),)
        n = tokens.mask.sum(1, keepdim=True)
        return (Tokens(tokens.filled().sum(1, keepdim=True) / n.clamp(min=1).unsqueeze(-1), n > 0),)
