"""Augmentation of whole batches, on their device; ``[train.augment]`` in a recipe."""

from mmfusion.data.transforms.augment import Augment

__all__ = ["Augment"]
