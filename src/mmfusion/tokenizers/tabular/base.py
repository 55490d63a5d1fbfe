"""Tabular tokenizer: base class and factory."""

import math
from typing import Literal, Self, TypeAlias

import torch
from torch import Tensor, nn

from mmfusion.registry import Choice, named, tabular_tokenizers
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.marginals import Marginals
from mmfusion.tokens import Table, Tokens
from mmfusion.utils.tensor_checks import require

Missing: TypeAlias = Literal["token", "mask", "impute"]
"""What a missing cell becomes: a learned vector of its column, nothing, or what is expected of the column."""


class TabularTokenizer(nn.Module):
    """A table to one set of tokens.

    A subclass defines :meth:`tokens`; the check of what comes and the [CLS] token are here.

    Args:
        columns: The modality.
        dim: Width of the tokens.
        n_tokens: How many :meth:`tokens` gives.
        missing: ``"token"``: a missing cell becomes a learned vector of its column. ``"mask"``: it contributes nothing,
            and a token without content is masked. ``"impute"``: it becomes what is expected of its column in the rows
            that :meth:`fit` saw, beside a learned vector that says so; see
            :class:`~mmfusion.tokenizers.tabular.marginals.Marginals`.

    Attributes:
        n_tokens: How many go out, a [CLS] among them.
        needs_rows: Whether :meth:`fit` learns anything; a subclass that learns from rows sets it.
    """

    def __init__(self, columns: Columns, *, dim: int, n_tokens: int, missing: Missing = "token") -> None:
        super().__init__()
        self.columns = columns
        self.dim = dim
        self.missing = missing
        self.n_tokens = n_tokens
        self.needs_rows = missing == "impute"
        self.marginals = Marginals(columns) if missing == "impute" else None
        self.register_parameter("cls", None)

    cls: nn.Parameter | None

    def with_cls(self) -> Self:
        """Put a learned token before the others, always real, to read the table out from; the tokenizer itself."""
        if self.cls is None:
            self.cls = vectors(1, 1, self.dim)
            self.n_tokens += 1
        return self

    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Learn from training rows what is not learned by gradient; what is learned is in the state dict.

        Args:
            table: All training rows, on the CPU.
            labels: Shape ``(n,)``, class indices int64, or numbers; None: there are none.

        Raises:
            ValueError: If the table has other columns, or labels are needed and missing.
        """
        check_table(table, self.columns)
        if self.marginals is not None:
            self.marginals.fit(table)

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """Tokens of a batch of records.

        Args:
            table: Numerical ``(b, n_num)``, NaN missing; categorical ``(b, n_cat)`` int64, -1 missing.

        Returns:
            One set of ``n_tokens`` tokens, the [CLS] first where there is one.

        Raises:
            ValueError: If the table has other columns.
        """
        check_table(table, self.columns)
        tokens = self.tokens(table)
        if self.cls is None:
            return (tokens,)
        x = torch.cat([self.cls.expand(tokens.x.shape[0], -1, -1), tokens.x], 1)
        mask = tokens.mask
        return (Tokens(x, mask if mask is None else torch.cat([torch.ones_like(mask[:, :1]), mask], 1)),)

    def tokens(self, table: Table) -> Tokens:
        """Tokens of a table whose columns were checked, without [CLS]."""
        raise NotImplementedError("a tabular tokenizer defines tokens()")  # abstract


def create_tabular_tokenizer(choice: Choice, columns: Columns, *, dim: int, cls: bool = False) -> TabularTokenizer:
    """Build a tabular tokenizer from plain settings.

    Args:
        choice: A registered name, or a mapping with ``name`` and the tokenizer's options; ``cls`` may be among them.
        columns: The modality.
        dim: Width of the tokens.
        cls: Put a learned token before the others, to read the table out from.

    Returns:
        From a :class:`~mmfusion.tokens.Table` to one set of tokens.

    Raises:
        ValueError: If the name or an option is unknown or out of range.
    """
    name, options = named(choice, "tabular tokenizer")
    cls = bool(options.pop("cls", cls))
    if "dim" in options:
        raise ValueError(f"dim is set beside the tabular tokenizer, not in its options, got {choice!r}")
    tokenizer: TabularTokenizer = tabular_tokenizers.create(name, columns, dim=dim, **options)
    return tokenizer.with_cls() if cls else tokenizer


def check_table(table: Table, columns: Columns) -> None:
    """Raise an error about a table of other columns.

    Raises:
        ValueError: Saying which shapes and dtypes were expected and which came.
    """
    hint = f", for the columns {columns.names}"
    require("numerical cells", table.numerical, "floating point", "b", len(columns.numerical), hint=hint)
    n_rows = table.numerical.shape[0]
    require("categorical cells", table.categorical, torch.int64, n_rows, len(columns.categorical), hint=hint)


def first_rows(columns: Columns) -> Tensor:
    """Where each column's categories begin where those of all columns follow each other, shape ``(n_cat,)`` int64."""
    sizes = torch.tensor(columns.cardinalities, dtype=torch.int64)
    return sizes.cumsum(0) - sizes


def one_hot(categorical: Tensor, columns: Columns, dtype: torch.dtype) -> Tensor:
    """All categories of all columns side by side, ``(b, n)``; a missing one is all zeros."""
    parts = [
        (column.unsqueeze(-1) == torch.arange(n, device=column.device)).to(dtype)
        for column, n in zip(categorical.unbind(1), columns.cardinalities, strict=True)
    ]
    return torch.cat(parts, 1) if parts else categorical.to(dtype)


def vectors(*shape: int, n_in: int | None = None) -> nn.Parameter:
    """Learned vectors, uniform within one over the root of ``n_in``, by default their width."""
    bound = 1 / math.sqrt(n_in or shape[-1])
    return nn.Parameter(nn.init.uniform_(torch.empty(*shape), -bound, bound))
