"""Batch samplers, determined by a seed and the epoch.

They are batch samplers for torch's ``DataLoader``. All batches but the last have ``batch_size`` cases. Several
processes draw the same batches, and each takes its share of every batch, see :class:`SharedBatches`; or whole batches
in turn, as Accelerate distributes them.
"""

from mmfusion.data.samplers.balanced import ClassBalancedBatches
from mmfusion.data.samplers.choose import OPTIONS, Batches, choose_batches
from mmfusion.data.samplers.grouped import GroupedBatches
from mmfusion.data.samplers.shares import SharedBatches
from mmfusion.data.samplers.shuffled import ShuffledBatches
from mmfusion.data.samplers.weighted import WeightedBatches

__all__ = [
    "OPTIONS",
    "Batches",
    "ClassBalancedBatches",
    "GroupedBatches",
    "SharedBatches",
    "ShuffledBatches",
    "WeightedBatches",
    "choose_batches",
]
