"""Tokenizers: an encoder's maps, or a table, to tokens."""

from mmfusion.tokenizers.cells import TableCells
from mmfusion.tokenizers.image import Pool, Pyramid
from mmfusion.tokenizers.patches import Patches
from mmfusion.tokenizers.table import create_table_tokenizer
from mmfusion.tokenizers.table_encoders import CompressedTable, KnownCells, TipTableEncoder
from mmfusion.tokenizers.tabular import (
    FeatureTokenizer,
    MeanToken,
    PeriodicTokenizer,
    PiecewiseLinearTokenizer,
    TableMLP,
    TabTransformer,
    TabularTokenizer,
    TextTokenizer,
    TreeTokenizer,
    create_tabular_tokenizer,
)

__all__ = [
    "CompressedTable",
    "FeatureTokenizer",
    "KnownCells",
    "MeanToken",
    "Patches",
    "PeriodicTokenizer",
    "PiecewiseLinearTokenizer",
    "Pool",
    "Pyramid",
    "TabTransformer",
    "TableCells",
    "TableMLP",
    "TabularTokenizer",
    "TextTokenizer",
    "TipTableEncoder",
    "TreeTokenizer",
    "create_table_tokenizer",
    "create_tabular_tokenizer",
]
