"""Datasets, readers, splits and augmentation; importing this package registers the built-in datasets."""

from mmfusion.data.bundle import DataBundle
from mmfusion.data.cases import CaseDataset, Cases, collate
from mmfusion.data.datasets.bus_bra import bus_bra
from mmfusion.data.datasets.derm7pt import derm7pt
from mmfusion.data.datasets.faults import DatasetError
from mmfusion.data.datasets.ham10000 import ham10000
from mmfusion.data.datasets.men import men
from mmfusion.data.datasets.pad_ufes_20 import pad_ufes_20
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.datasets.planned import PlannedDataset, planned_dataset
from mmfusion.data.datasets.table import TableDataset
from mmfusion.data.frame import FrameDataset
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.dicom_images import DicomSource
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.masks import Masks
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.sources import check_images
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.reader import CaseReader, TargetColumn
from mmfusion.data.samplers import ClassBalancedBatches, GroupedBatches, ShuffledBatches, WeightedBatches
from mmfusion.data.schema.columns import CategoricalColumn, NumericalColumn
from mmfusion.data.schema.table_file import read_table
from mmfusion.data.schema.table_schema import TableSchema
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
from mmfusion.data.synthetic.synthetic_derm7pt import synthetic_derm7pt
from mmfusion.data.synthetic.synthetic_files import export
from mmfusion.data.synthetic.synthetic_men import synthetic_men
from mmfusion.data.transforms import Augment
from mmfusion.data.transforms.table_augment import TableAugment

__all__ = [
    "Augment",
    "CaseDataset",
    "CaseReader",
    "Cases",
    "CategoricalColumn",
    "ClassBalancedBatches",
    "DataBundle",
    "DatasetError",
    "DicomSource",
    "FrameDataset",
    "GroupedBatches",
    "ImageCache",
    "ImageSource",
    "Intensity",
    "Masks",
    "NumericalColumn",
    "Plan",
    "PlannedDataset",
    "ShuffledBatches",
    "Split",
    "StackSource",
    "TableAugment",
    "TableDataset",
    "TableSchema",
    "TargetColumn",
    "VolumeSource",
    "WeightedBatches",
    "bus_bra",
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
    "planned_dataset",
    "read_table",
    "repeated_kfold",
    "save_folds",
    "save_split",
    "split_from_column",
    "stratified_split",
    "synthetic_derm7pt",
    "synthetic_men",
]
