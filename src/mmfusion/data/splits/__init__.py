"""Splits into training, validation and test set, stratified and by whole groups; cross-validation; split files."""

from mmfusion.data.splits.column import split_from_column
from mmfusion.data.splits.deal import grouped_stratified_split, stratified_split
from mmfusion.data.splits.folds import kfold, repeated_kfold
from mmfusion.data.splits.make import make_split
from mmfusion.data.splits.split import SETS, Indices, Split, check_folds, check_split
from mmfusion.data.splits.split_files import load_split, save_folds, save_split

__all__ = [
    "SETS",
    "Indices",
    "Split",
    "check_folds",
    "check_split",
    "grouped_stratified_split",
    "kfold",
    "load_split",
    "make_split",
    "repeated_kfold",
    "save_folds",
    "save_split",
    "split_from_column",
    "stratified_split",
]
