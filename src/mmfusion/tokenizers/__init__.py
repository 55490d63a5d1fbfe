"""Tokenizers: an encoder's maps, or a table, to tokens."""

from mmfusion.tokenizers.cells import TableCells
from mmfusion.tokenizers.image import Pool, Pyramid
from mmfusion.tokenizers.patches import Patches
from mmfusion.tokenizers.table_encoders.compressed import CompressedTable
from mmfusion.tokenizers.table_encoders.known_cells import KnownCells
from mmfusion.tokenizers.table_encoders.tip import TipTableEncoder
from mmfusion.tokenizers.tabular.base import TabularTokenizer, create_tabular_tokenizer
from mmfusion.tokenizers.tabular.feature import FeatureTokenizer
from mmfusion.tokenizers.tabular.mean import MeanToken
from mmfusion.tokenizers.tabular.mlp import TableMLP
from mmfusion.tokenizers.tabular.periodic import PeriodicTokenizer
from mmfusion.tokenizers.tabular.piecewise_linear import PiecewiseLinearTokenizer
from mmfusion.tokenizers.tabular.tabtransformer import TabTransformer
from mmfusion.tokenizers.tabular.text import TextTokenizer
from mmfusion.tokenizers.tabular.trees import TreeTokenizer

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
    "create_tabular_tokenizer",
]
