"""Which cases stand together in a batch, fully determined by a seed and the epoch's number.

All are batch samplers in torch's sense. All batches but the last have ``batch_size`` cases, which is what Accelerate
relies on when it deals them out to several processes: each process sees the same batches and takes its own of them.
"""

from mmfusion.data.samplers.balanced import ClassBalancedBatches
from mmfusion.data.samplers.choose import OPTIONS, Batches, choose_batches
from mmfusion.data.samplers.grouped import GroupedBatches
from mmfusion.data.samplers.shuffled import ShuffledBatches
from mmfusion.data.samplers.weighted import WeightedBatches

__all__ = [
    "OPTIONS",
    "Batches",
    "ClassBalancedBatches",
    "GroupedBatches",
    "ShuffledBatches",
    "WeightedBatches",
    "choose_batches",
]
