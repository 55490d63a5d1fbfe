"""Batches drawn with replacement, by class weights."""

import math
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from mmfusion.data.samplers.epochs import EpochBatches, class_codes
from mmfusion.option_checks import checked
from mmfusion.options import Cases, NClasses, Positive, Range


class WeightedBatches(EpochBatches):
    """Cases drawn with replacement, with a probability by their class.

    A case of class k has the weight ``n_k ** -power``: from power 0 to 1 the expected shares of the classes go from
    those of the data to equal ones. An epoch is ``ceil(n / batch_size)`` full batches, as many as without weights. A
    case may occur several times in an epoch and in a batch.

    Args:
        labels: Class of each case, shape ``(n,)``.
        batch_size: Cases per batch.
        power: Exponent of the inverse frequency; above 1 the rarest class is drawn most often.
        weights: One weight per class, in the order of the classes, instead of ``power``.
        n_classes: Number of classes; None: the largest label plus 1.
        seed: Determines the batches, together with the epoch.

    Raises:
        ValueError: If there are no labels or one is out of range, the batch is empty, the power is not from -10 to 10,
            or the weights are not one positive number per class.
    """

    @checked
    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        batch_size: Cases,
        power: Annotated[float, Range(-10, 10)] = 1.0,
        weights: Sequence[Positive] | None = None,
        n_classes: NClasses | None = None,
        seed: int = 0,
    ) -> None:
        codes = class_codes(labels, "WeightedBatches", n_classes)
        super().__init__(batch_size, seed)
        counts = torch.bincount(codes)
        if weights is None:
            # In float64: a large power of a large class exceeds the range of float32.
            of_class = torch.where(counts > 0, counts.double().clamp(min=1) ** -power, 0.0)
        else:
            n_classes = len(counts) if n_classes is None else n_classes
            if len(weights) != n_classes:
                raise ValueError(
                    f"WeightedBatches expects one weight for each of {n_classes} classes, got {len(weights)}: {weights}"
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
