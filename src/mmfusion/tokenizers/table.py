"""Factory of what reads a table."""

from torch import nn

from mmfusion.registry import Choice, named, table_encoders
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import create_tabular_tokenizer


def create_table_tokenizer(choice: Choice, columns: Columns, *, dim: int) -> nn.Module:
    """Build a tabular tokenizer or a table encoder from plain settings.

    Args:
        choice: A registered name of either kind, or a mapping with ``name`` and options.
        columns: The modality.
        dim: Width of the tokens.

    Returns:
        From a :class:`~mmfusion.tokens.Table` to one set of tokens.

    Raises:
        ValueError: If the name or an option is unknown or out of range.
    """
    name, _ = named(choice, "tabular tokenizer")
    if name in table_encoders:
        encoder: nn.Module = table_encoders.build(choice, columns=columns, dim=dim)
        return encoder
    return create_tabular_tokenizer(choice, columns, dim=dim)
