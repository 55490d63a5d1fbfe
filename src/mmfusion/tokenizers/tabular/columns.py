"""One token per column, whatever it is made from, and what becomes of a missing cell."""

import torch
from torch import Tensor, nn

from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing, TabularTokenizer, vectors
from mmfusion.tokens import Table, Tokens


class ColumnTokenizer(TabularTokenizer):
    """One token per column, in the spec's order.

    A subclass defines what cells that are there become: :meth:`numbers`, :meth:`categories` and
    :meth:`of_categories`; and calls :meth:`settle_missing` when its own parameters are made.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        missing: What a missing cell becomes: a learned token of its column; masked; or the token of the column's mean,
            for a category the mean of all tokens by their shares, plus a learned vector.
    """

    def __init__(self, columns: Columns, *, dim: int, missing: Missing) -> None:
        super().__init__(columns, dim=dim, n_tokens=len(columns), missing=missing)
        self.register_parameter("absent", None)

    absent: nn.Parameter | None

    def settle_missing(self) -> None:
        """Make the columns' vectors for missing cells, where there are any."""
        if self.missing != "mask":
            self.absent = vectors(len(self.columns), self.dim)

    def numbers(self, values: Tensor) -> Tensor:
        """Tokens of numerical cells, all of them there: ``(b, n_num)`` to ``(b, n_num, dim)``."""
        raise NotImplementedError("a column tokenizer defines numbers()")  # abstract

    def categories(self, codes: Tensor) -> Tensor:
        """Tokens of categorical cells, all of them there: ``(b, n_cat)`` to ``(b, n_cat, dim)``."""
        raise NotImplementedError("a column tokenizer defines categories()")  # abstract

    def of_categories(self, column: Tensor) -> Tensor:
        """Tokens of all categories of all columns, whose columns are ``column (n,)``: ``(n, dim)``."""
        raise NotImplementedError("a column tokenizer defines of_categories()")  # abstract

    def tokens(self, table: Table) -> Tokens:
        """One token per column."""
        numerical, categorical = table
        known = torch.cat([~numerical.isnan(), categorical >= 0], 1)
        # Something stands in for the missing: 0 times NaN is NaN, and an index of -1 is none.
        mean = 0.0 if self.marginals is None else self.marginals.mean.to(numerical.dtype)
        of_codes = self.categories(categorical.clamp(min=0))
        if self.marginals is not None:
            expected = self.marginals.expected(self.of_categories(self.marginals.column))
            of_codes = torch.where((categorical >= 0).unsqueeze(-1), of_codes, expected)
        x = torch.cat([self.numbers(torch.where(numerical.isnan(), mean, numerical)), of_codes], 1)
        if self.absent is None:
            return Tokens(x, known)
        instead = self.absent if self.marginals is None else x + self.absent
        return Tokens(torch.where(known.unsqueeze(-1), x, instead))
