"""Datasets, and what turns tables and images into cases; importing this package registers the built-in datasets."""

from mmfusion.data.cases import CaseDataset, Cases, DataBundle, collate
from mmfusion.data.frame import FrameDataset
from mmfusion.data.ham10000 import ham10000
from mmfusion.data.images import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.samplers import ClassBalancedBatches, ShuffledBatches
from mmfusion.data.schema import CategoricalColumn, NumericalColumn, TableSchema
from mmfusion.data.splits import Split, check_split, grouped_stratified_split, load_split, save_split
from mmfusion.data.synthetic import export, synthetic_derm7pt, synthetic_men
from mmfusion.data.transforms import Augment

__all__ = [
    "Augment",
    "CaseDataset",
    "CaseReader",
    "Cases",
    "CategoricalColumn",
    "ClassBalancedBatches",
    "DataBundle",
    "FrameDataset",
    "ImageSource",
    "NumericalColumn",
    "ShuffledBatches",
    "Split",
    "TableSchema",
    "TargetColumn",
    "check_split",
    "collate",
    "export",
    "grouped_stratified_split",
    "ham10000",
    "load_split",
    "save_split",
    "synthetic_derm7pt",
    "synthetic_men",
]
