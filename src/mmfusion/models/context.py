"""Context of map fusion: features of the tables."""

from collections.abc import Mapping

from torch import Tensor, nn

from mmfusion.models.rows import Rows, absent_tokens, concatenated
from mmfusion.registry import Choice
from mmfusion.spec import Columns
from mmfusion.tokenizers import MeanToken, TableCells, create_tabular_tokenizer
from mmfusion.tokens import Content, Tokens

CELLS = "cells"
"""The cells themselves, nothing learned."""


class Context(nn.Module):
    """One vector per case, the features of all tables concatenated.

    Args:
        tokenizers: By table, a tokenizer of a single token, with its width ``dim`` and its ``columns``.

    Attributes:
        dim: Features in all.
    """

    def __init__(self, tokenizers: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.tokenizers = nn.ModuleDict(tokenizers)
        self.widths: dict[str, int] = {}
        for name, tokenizer in self.tokenizers.items():
            n_tokens = getattr(tokenizer, "n_tokens", 1)
            if n_tokens != 1:
                raise ValueError(
                    f"context needs a single token per table, the tokenizer of {name!r} gives {n_tokens}: take "
                    "TableCells or TableMLP, or MeanToken of it"
                )
            self.widths[name] = int(tokenizer.dim)  # type: ignore[arg-type]  # a tokenizer's
        self.dim = sum(self.widths.values())

    @classmethod
    def create(cls, tables: Mapping[str, Columns], choice: Choice, *, dim: int) -> "Context":
        """Build for tables.

        Args:
            tables: The table modalities.
            choice: ``"cells"`` for the cells themselves, or a tabular tokenizer, whose tokens are averaged.
            dim: Width of the tokenizer's tokens.
        """
        if choice == CELLS:
            return cls({name: TableCells(columns) for name, columns in tables.items()})
        return cls(
            {name: MeanToken(create_tabular_tokenizer(choice, columns, dim=dim)) for name, columns in tables.items()}
        )

    @property
    def mean_square(self) -> float:
        """Of the features, as expected at the start; 1 for features that are learned."""
        squares = [
            len(tokenizer.columns) if isinstance(tokenizer, TableCells) else self.widths[name]
            for name, tokenizer in self.tokenizers.items()
        ]
        return sum(squares) / max(1, self.dim)

    def forward(
        self, content: Mapping[str, Content], rows: Mapping[str, Rows], n_cases: int, *, like: Tensor
    ) -> Tokens | None:
        """Summarize.

        Args:
            content: By modality; a table that no case has is left out.
            rows: For the tables that some case may lack, which rows ``content`` has.
            n_cases: b.
            like: A tensor with the dtype and the device of an absent table's features.

        Returns:
            Shape ``(b, 1, dim)``, masked for a case without any table; None for a model without context.
        """
        parts = []
        for name, tokenizer in self.tokenizers.items():
            if name in content:
                (tokens,) = tokenizer(content[name])
                parts.append(rows[name].put_tokens(tokens) if name in rows else tokens)
            else:
                parts.append(absent_tokens(n_cases, 1, self.widths[name], like))
        return concatenated(parts) if parts else None
