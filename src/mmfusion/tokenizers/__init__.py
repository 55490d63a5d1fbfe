"""From an encoder's maps, or a table, to tokens."""

from mmfusion.tokenizers.image import Pool, Pyramid
from mmfusion.tokenizers.patches import Patches
from mmfusion.tokenizers.tabular import Compressed, FeatureTokenizer, TableMLP

__all__ = ["Compressed", "FeatureTokenizer", "Patches", "Pool", "Pyramid", "TableMLP"]
