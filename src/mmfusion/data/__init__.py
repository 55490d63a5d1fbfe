"""Datasets, and what turns tables and images into cases; importing this package registers the built-in datasets."""

from mmfusion.data.cache import ImageCache
from mmfusion.data.cases import CaseDataset, Cases, DataBundle, collate
from mmfusion.data.columns import CategoricalColumn, NumericalColumn
from mmfusion.data.derm7pt import derm7pt
from mmfusion.data.frame import FrameDataset
from mmfusion.data.ham10000 import ham10000
from mmfusion.data.images import ImageSource
from mmfusion.data.intensity import Intensity
from mmfusion.data.men import men
from mmfusion.data.nifti import VolumeSource
from mmfusion.data.pad_ufes_20 import pad_ufes_20
from mmfusion.data.plan import DatasetError
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.samplers import ClassBalancedBatches, GroupedBatches, ShuffledBatches, WeightedBatches
from mmfusion.data.schema import TableSchema
from mmfusion.data.sources import check_images
from mmfusion.data.splits import (
    Split,
    check_split,
    grouped_stratified_split,
    kfold,
    load_split,
    make_split,
    repeated_kfold,
    save_folds,
    save_split,
    split_from_column,
    stratified_split,
)
from mmfusion.data.stack import StackSource
from mmfusion.data.synthetic import export, synthetic_derm7pt, synthetic_men
from mmfusion.data.table import TableDataset
from mmfusion.data.table_augment import TableAugment
from mmfusion.data.table_file import read_table
from mmfusion.data.transforms import Augment

__all__ = [
    "Augment",
    "CaseDataset",
    "CaseReader",
    "Cases",
    "CategoricalColumn",
    "ClassBalancedBatches",
    "DataBundle",
    "DatasetError",
    "FrameDataset",
    "GroupedBatches",
    "ImageCache",
    "ImageSource",
    "Intensity",
    "NumericalColumn",
    "ShuffledBatches",
    "Split",
    "StackSource",
    "TableAugment",
    "TableDataset",
    "TableSchema",
    "TargetColumn",
    "VolumeSource",
    "WeightedBatches",
    "check_images",
    "check_split",
    "collate",
    "derm7pt",
    "export",
    "grouped_stratified_split",
    "ham10000",
    "kfold",
    "load_split",
    "make_split",
    "men",
    "pad_ufes_20",
    "read_table",
    "repeated_kfold",
    "save_folds",
    "save_split",
    "split_from_column",
    "stratified_split",
    "synthetic_derm7pt",
    "synthetic_men",
]
