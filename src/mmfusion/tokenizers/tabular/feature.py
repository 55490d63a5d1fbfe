"""FT-Transformer's tokens."""

import torch
from torch import Tensor, nn

from mmfusion.options import Width
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing, first_rows, vectors
from mmfusion.tokenizers.tabular.columns import ColumnTokenizer


@tabular_tokenizers.register("feature")
class FeatureTokenizer(ColumnTokenizer):
    """One token per column (FT-Transformer; Gorishniy et al., 2021, section 3.3).

    A numerical column j gives ``x[j] * weight[j] + bias[j]``, a categorical one ``embedding[j][x[j]] + bias[j]``. The
    bias is the column's own vector, by which later layers know it.

    NOTE[DIFF] The paper has no missing cells; see ``missing``.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        missing: What a missing cell becomes: ``"token"``, a learned token a column; ``"mask"``, masked; ``"impute"``,
            what is expected of the column, plus a learned vector.
        cls: Put a learned token before the columns', to read the table out from.

    Raises:
        ValueError: If ``missing`` is none of them.
    """

    def __init__(self, columns: Columns, *, dim: Width, missing: Missing = "token", cls: bool = False) -> None:
        super().__init__(columns, dim=dim, missing=missing)
        self.build_numbers(len(columns.numerical))
        self.bias = vectors(len(columns), dim)
        # All categories of all columns stand in one table, so that one look-up serves every column.
        self.embedding = vectors(sum(columns.cardinalities), dim)
        # In the state dict: a model built on the meta device gets it from there.
        self.first_row = nn.Buffer(first_rows(columns))
        self.settle_missing()
        if cls:
            self.with_cls()

    def build_numbers(self, n_numerical: int) -> None:
        """Make the parameters for numbers."""
        self.weight = vectors(n_numerical, self.dim)

    def numbers(self, values: Tensor) -> Tensor:
        """Tokens of numerical cells: ``(b, n_num)`` to ``(b, n_num, dim)``."""
        return values.to(self.bias.dtype).unsqueeze(-1) * self.weight + self.bias_of_numbers

    @property
    def bias_of_numbers(self) -> Tensor:
        """The numerical columns' own vectors, ``(n_num, dim)``."""
        return self.bias[: len(self.columns.numerical)]

    def categories(self, codes: Tensor) -> Tensor:
        """Tokens of categorical cells: ``(b, n_cat)`` to ``(b, n_cat, dim)``."""
        tokens_of_codes = torch.nn.functional.embedding(codes + self.first_row, self.embedding)
        return tokens_of_codes + self.bias[len(self.columns.numerical) :]

    def of_categories(self, column: Tensor) -> Tensor:
        """Tokens of all categories of all columns, whose columns are ``column (n,)``: ``(n, dim)``."""
        return self.embedding + self.bias[len(self.columns.numerical) :][column]
