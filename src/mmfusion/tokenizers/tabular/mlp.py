"""A table as one token, by a multilayer perceptron."""

import torch
from torch import nn

from mmfusion.options import Dropout, Width
from mmfusion.registry import tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import Missing, TabularTokenizer, one_hot
from mmfusion.tokens import Table, Tokens


@tabular_tokenizers.register("mlp")
class TableMLP(TabularTokenizer):
    """One token for the whole table: numbers and one-hot categories through two linear layers.

    Args:
        columns: The modality.
        dim: Width of the token.
        dropout: Probability between the layers.
        missing: What a missing cell becomes. ``"token"``: a number is 0 beside an indicator, whose weights are the
            column's vector, and a category is all zeros, against which the others' weights are learned. ``"mask"``:
            both are zeros without an indicator, and a table without any cell is masked. ``"impute"``: the column's
            mean, or the shares of its categories, each beside an indicator.
    """

    def __init__(self, columns: Columns, *, dim: Width, dropout: Dropout = 0.0, missing: Missing = "token") -> None:
        super().__init__(columns, dim=dim, n_tokens=1, missing=missing)
        n_indicators = {"token": len(columns.numerical), "mask": 0, "impute": len(columns)}[missing]
        n_in = len(columns.numerical) + sum(columns.cardinalities) + n_indicators
        self.layers = nn.Sequential(nn.Linear(n_in, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim))

    def tokens(self, table: Table) -> Tokens:
        """A single token."""
        dtype = next(self.layers.parameters()).dtype
        numerical, categorical = table.numerical.to(dtype), table.categorical
        missing = numerical.isnan()
        if self.marginals is None:
            parts = [torch.where(missing, 0.0, numerical)]
            parts += [missing.to(dtype)] if self.missing == "token" else []
            x = torch.cat([*parts, one_hot(categorical, self.columns, dtype)], 1)
            known = torch.cat([~missing, categorical >= 0], 1)
            mask = None if self.missing == "token" else known.any(1, keepdim=True)
            return Tokens(self.layers(x).unsqueeze(1), mask)
        gone = torch.cat([missing, categorical < 0], 1)
        of_category = (categorical < 0)[:, self.marginals.column]
        parts = [
            torch.where(missing, self.marginals.mean.to(dtype), numerical),
            torch.where(of_category, self.marginals.share.to(dtype), one_hot(categorical, self.columns, dtype)),
            gone.to(dtype),
        ]
        return Tokens(self.layers(torch.cat(parts, 1)).unsqueeze(1))
