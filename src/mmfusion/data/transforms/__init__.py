"""Random changes of whole batches, on the batch's own device: what ``[train.augment]`` sets."""

from mmfusion.data.transforms.augment import Augment

__all__ = ["Augment"]
