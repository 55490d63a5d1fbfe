"""Cases drawn with replacement, rare classes more often."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from mmfusion.data.samplers.epochs import EpochBatches, class_codes
from mmfusion.option_checks import checked
from mmfusion.options import NClasses, Positive, Range


class WeightedBatches(EpochBatches):
    """Each case drawn with a probability that its class gives it, with replacement.

    A case of class k weighs ``n_k ** -power``: with the power from 0 to 1 the classes' shares go from those of the data
    to equal ones, on the average over batches. An epoch is ``ceil(n / batch_size)`` whole batches, as many as without
    weights. A case may come several times in an epoch and in a batch.

    Args:
        labels: Class of each case, shape ``(n,)``.
        batch_size: Cases in a batch.
        power: Of the inverse frequency; above 1 the rarest class is the most frequent.
        weights: Weight of a case of each class, in the classes' order, in place of the power's.
        n_classes: Number of classes; None: as many as the largest label says.
        seed: With the epoch, it determines the batches.

    Raises:
        ValueError: If there are no labels or one is out of range, the batch is empty, the power is not from -10 to 10,
            or the weights are not one positive number for each class.
    """

    @checked
    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        batch_size: int,
        power: Annotated[float, Range(-10, 10)] = 1.0,
        weights: Sequence[Positive] | None = None,
        n_classes: NClasses | None = None,
        seed: int = 0,
    ) -> None:
        codes = class_codes(labels, "WeightedBatches", n_classes)
        if batch_size < 1:
            raise ValueError(f"WeightedBatches expects at least one case a batch, got batch_size={batch_size}")
        super().__init__(batch_size, seed)
        counts = torch.bincount(codes)
        if weights is None:
            # In doubles: a large power of a large class leaves float32's range.
            of_class = torch.where(counts > 0, counts.double().clamp(min=1) ** -power, 0.0)
        else:
            n_classes = len(counts) if n_classes is None else n_classes
            if len(weights) != n_classes:
                raise ValueError(
                    f"WeightedBatches expects weights for {n_classes} classes, one each, got {len(weights)}: {weights}"
                )
            of_class = torch.as_tensor(weights, dtype=torch.float64)
        self.weights = of_class[codes]
        self._length = math.ceil(len(codes) / batch_size)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        n_drawn = self._length * self.batch_size
        drawn = torch.multinomial(self.weights, n_drawn, replacement=True, generator=self.generator()).tolist()
        for start in range(0, n_drawn, self.batch_size):
            yield drawn[start : start + self.batch_size]
