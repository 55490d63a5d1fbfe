"""Base class of the batch samplers: seed, epoch, and the attributes that Accelerate reads."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[int]]):
    """Batches of an epoch.

    Args:
        batch_size: Cases per batch, in all batches but the last.
        seed: Determines the batches, together with the epoch.
    """

    drop_last = False

    def __init__(self, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch; batches depend on its number, not on what was drawn before."""
        self.epoch = epoch

    def generator(self) -> torch.Generator:
        """A new generator for the epoch."""
        # Cantor's pairing function: one seed for two numbers, without collisions.
        pair = (self.seed + self.epoch) * (self.seed + self.epoch + 1) // 2 + self.epoch
        return torch.Generator().manual_seed(pair)


def class_codes(labels: Tensor | Sequence[int], who: str, n_classes: int | None = None) -> Tensor:
    """Labels as ``(n,)`` int64.

    Args:
        labels: Class of each case, shape ``(n,)``.
        who: The sampler, for messages.
        n_classes: Number of classes; None: any label from 0.

    Raises:
        ValueError: If there are no labels, they are not one per case, or one is out of range.
    """
    codes = torch.as_tensor(labels, dtype=torch.int64)
    if codes.ndim != 1 or not len(codes):
        raise ValueError(f"{who} expects one label per case, got shape {tuple(codes.shape)}")
    wrong = (codes < 0) | (codes >= (2**31 if n_classes is None else n_classes))
    if bool(wrong.any()):
        upper = "" if n_classes is None else f" to {n_classes - 1}"
        raise ValueError(
            f"{who} expects labels from 0{upper}, got {codes[wrong][0]} among {int(wrong.sum())} of {len(codes)} cases"
        )
    return codes
