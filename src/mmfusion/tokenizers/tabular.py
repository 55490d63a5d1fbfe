"""From a table to tokens."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mmfusion.layers.compression import TokenShape, create_compression
from mmfusion.registry import Choice, tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokens import Table, Tokens


def check_table(table: Table, columns: Columns) -> None:
    """Refuse a table of other columns.

    Raises:
        ValueError: Saying which shapes and dtypes were expected and which came.
    """
    numerical, categorical = table
    rows = numerical.shape[0] if numerical.ndim else 0
    expected = ((rows, len(columns.numerical)), (rows, len(columns.categorical)))
    if (
        (tuple(numerical.shape), tuple(categorical.shape)) != expected
        or not numerical.is_floating_point()
        or categorical.dtype != torch.int64
    ):
        raise ValueError(
            f"a table of numerical {expected[0]} float and categorical {expected[1]} int64 is expected for the "
            f"columns {columns.names}, got {tuple(numerical.shape)} {numerical.dtype} and "
            f"{tuple(categorical.shape)} {categorical.dtype}"
        )


@tabular_tokenizers.register("feature")
class FeatureTokenizer(nn.Module):
    """One token a column (FT-Transformer; Gorishniy et al., 2021, section 3.3).

    A numerical column j gives ``x[j] * weight[j] + bias[j]``, a categorical one ``embedding[j][x[j]] + bias[j]``. The
    bias is the column's own vector, by which later layers know it.

    NOTE[DIFF] The paper has no missing cells. Here a missing cell's token is a learned one a column
    (``missing="token"``), or it is masked (``missing="mask"``).

    Args:
        columns: The modality.
        dim: Width of the tokens.
        missing: What a missing cell becomes.
        cls: Put a learned token before the columns', to read the table out from.

    Raises:
        ValueError: If ``missing`` is neither.
    """

    def __init__(
        self, columns: Columns, *, dim: int, missing: Literal["token", "mask"] = "token", cls: bool = False
    ) -> None:
        super().__init__()
        if missing not in ("token", "mask"):
            raise ValueError(f"missing must be 'token' or 'mask', got {missing!r}")
        self.columns = columns
        self.dim = dim
        self.missing = missing
        n_numerical, n_columns = len(columns.numerical), len(columns)
        self.weight = nn.Parameter(torch.empty(n_numerical, dim))
        self.bias = nn.Parameter(torch.empty(n_columns, dim))
        # All categories of all columns stand in one table, so that one look-up serves every column.
        self.embedding = nn.Parameter(torch.empty(sum(columns.cardinalities), dim))
        sizes = torch.tensor(columns.cardinalities, dtype=torch.int64)
        # In the state dict: a model built on the meta device gets it from there.
        self.register_buffer("first_row", sizes.cumsum(0) - sizes)
        self.absent = nn.Parameter(torch.empty(n_columns, dim)) if missing == "token" else None
        self.cls = nn.Parameter(torch.empty(1, 1, dim)) if cls else None
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(dim), 1 / math.sqrt(dim))

    first_row: Tensor

    @property
    def n_tokens(self) -> int:
        """Number of tokens that go out."""
        return len(self.columns) + (self.cls is not None)

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """Tokens of a batch of records.

        Args:
            table: Numerical ``(b, n_num)``, NaN missing; categorical ``(b, n_cat)`` int64, -1 missing.

        Returns:
            One set of tokens, one a column in the spec's order.

        Raises:
            ValueError: If the table has other columns.
        """
        check_table(table, self.columns)
        numerical = table.numerical.to(self.bias.dtype)
        there = torch.cat([~numerical.isnan(), table.categorical >= 0], 1)
        # Zeros stand in for the missing: 0 times NaN is NaN, and an index of -1 is none.
        filled = torch.where(numerical.isnan(), 0.0, numerical)
        rows = table.categorical.clamp(min=0) + self.first_row
        x = (
            torch.cat([filled.unsqueeze(-1) * self.weight, nn.functional.embedding(rows, self.embedding)], 1)
            + self.bias
        )
        mask = None if self.absent is not None else there
        if self.absent is not None:
            x = torch.where(there.unsqueeze(-1), x, self.absent)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
            mask = mask if mask is None else torch.cat([torch.ones_like(mask[:, :1]), mask], 1)
        return (Tokens(x, mask),)


@tabular_tokenizers.register("mlp")
class TableMLP(nn.Module):
    """One token for the whole table.

    Numerical cells with an indicator of those that are missing, categorical ones one-hot (a missing one is all zeros),
    through two linear layers.

    Args:
        columns: The modality.
        dim: Width of the token.
        dropout: Probability between the layers.
    """

    def __init__(self, columns: Columns, *, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.columns = columns
        n_in = 2 * len(columns.numerical) + sum(columns.cardinalities)
        self.layers = nn.Sequential(nn.Linear(n_in, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, dim))

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """One set of a single token.

        Args:
            table: Numerical ``(b, n_num)``, NaN missing; categorical ``(b, n_cat)`` int64, -1 missing.

        Returns:
            One set of tokens, shape ``(b, 1, dim)``.

        Raises:
            ValueError: If the table has other columns.
        """
        check_table(table, self.columns)
        numerical = table.numerical.to(next(self.layers.parameters()).dtype)
        missing = numerical.isnan()
        parts = [torch.where(missing, 0.0, numerical), missing.to(numerical.dtype)]
        parts += [
            (column.unsqueeze(-1) == torch.arange(n, device=column.device)).to(numerical.dtype)
            for column, n in zip(table.categorical.unbind(1), self.columns.cardinalities, strict=True)
        ]
        return (Tokens(self.layers(torch.cat(parts, 1)).unsqueeze(1)),)


class Compressed(nn.Module):
    """A tabular tokenizer whose tokens are compressed to latents.

    CFCML (arXiv 2603.20016, MG-CIE) brings the table's tokens to ``n_latents`` with the compression that it uses for
    images.

    Args:
        tokenizer: A tabular tokenizer with ``n_tokens``, ``dim`` and ``columns``.
        n_latents: Tokens that go out.
        compression: A registered token compression, or a mapping with ``name`` and options; see
            :mod:`mmfusion.layers.compression`.
    """

    def __init__(self, tokenizer: FeatureTokenizer, *, n_latents: int, compression: Choice = "conv") -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.columns = tokenizer.columns
        shape = TokenShape(tokenizer.n_tokens, tokenizer.dim)
        self.compress = create_compression(compression, shape, n_latents=n_latents)

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
