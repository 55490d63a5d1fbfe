"""From an encoder's maps, or a table, to tokens."""

from mmfusion.tokenizers.cells import TableCells
from mmfusion.tokenizers.image import Pool, Pyramid
from mmfusion.tokenizers.tabular import Compressed, FeatureTokenizer, TableMLP

__all__ = ["Compressed", "FeatureTokenizer", "Pool", "Pyramid", "TableCells", "TableMLP"]
