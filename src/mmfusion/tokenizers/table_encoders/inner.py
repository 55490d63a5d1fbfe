"""Tabular tokenizer inside a table encoder."""

from mmfusion.registry import Choice
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import TabularTokenizer, create_tabular_tokenizer


def inner_tokenizer(of: Choice, columns: Columns, *, dim: int, cls: bool = False) -> TabularTokenizer:
    """Build it from the option ``of``.

    Raises:
        ValueError: As :func:`~mmfusion.tokenizers.create_tabular_tokenizer`; names the option.
    """
    try:
        return create_tabular_tokenizer(of, columns, dim=dim, cls=cls)
    except ValueError as error:
        raise ValueError(f"of: {error}") from error
