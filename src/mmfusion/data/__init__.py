"""Datasets, and what turns tables and images into cases; importing this package registers the built-in datasets."""

from mmfusion.data.cache import ImageCache
from mmfusion.data.cases import CaseDataset, Cases, DataBundle, collate
from mmfusion.data.columns import CategoricalColumn, NumericalColumn
from mmfusion.data.frame import FrameDataset
from mmfusion.data.ham10000 import ham10000
from mmfusion.data.images import ImageSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.samplers import ClassBalancedBatches, ShuffledBatches
from mmfusion.data.schema import TableSchema
from mmfusion.data.sources import check_images
from mmfusion.data.splits import Split, check_split, grouped_stratified_split, load_split, save_split
from mmfusion.data.synthetic import export, synthetic_derm7pt
from mmfusion.data.table_file import read_table
from mmfusion.data.transforms import Augment
from mmfusion.data.volumes import VolumeSource

__all__ = [
    "Augment",
    "CaseDataset",
    "CaseReader",
    "Cases",
    "CategoricalColumn",
    "ClassBalancedBatches",
    "DataBundle",
    "FrameDataset",
    "ImageCache",
    "ImageSource",
    "NumericalColumn",
    "ShuffledBatches",
    "Split",
    "TableSchema",
    "TargetColumn",
    "VolumeSource",
    "check_images",
    "check_split",
    "collate",
    "export",
    "grouped_stratified_split",
    "ham10000",
    "load_split",
    "read_table",
    "save_split",
    "synthetic_derm7pt",
]
