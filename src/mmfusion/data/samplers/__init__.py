"""Which cases stand together in a batch, fully determined by a seed and the epoch's number.

All are batch samplers in torch's sense. All batches but the last have ``batch_size`` cases. Of several processes each
sees the same batches and takes its share of every one of them, see :class:`SharedBatches`; or whole batches in turn, as
Accelerate deals them out.
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
