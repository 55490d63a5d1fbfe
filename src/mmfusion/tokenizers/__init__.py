"""From an encoder's maps, or a table, to tokens."""

from mmfusion.tokenizers.cells import TableCells
from mmfusion.tokenizers.image import Pool, Pyramid
from mmfusion.tokenizers.patches import Patches
from mmfusion.tokenizers.tabular import (
    Compressed,
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
    "Compressed",
    "FeatureTokenizer",
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
    "TreeTokenizer",
    "create_tabular_tokenizer",
]
