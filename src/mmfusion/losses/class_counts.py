"""Losses that weigh classes by their number of training cases: base class."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from mmfusion.losses.base import Loss, Need
from mmfusion.losses.batch import Batch
from mmfusion.losses.classification import logits_and_labels
from mmfusion.options import Range

ClassCount: TypeAlias = Annotated[int, Range(0, 10**9)]
"""Training cases of a class; may be none."""


class CountedLoss(Loss):
    """A loss of logits and labels that has the number of training cases of each class.

    The counts are in the state dict, as integers, which keep their value when a module is cast to half precision. Until
    they are given, they are zeros there.

    Args:
        counts: Cases of each class, not all 0; None if :meth:`set_counts` is to give them.
        target: Name of the target and its output; None: the only output.
        n_classes: k; without it, as many as there are counts.

    Attributes:
        counts: Shape ``(k,)``, int64; None while the number of classes is unknown.
        has_counts: Whether the counts were given, or came with a state dict.

    Raises:
        ValueError: If a count is out of range, or they are not as many as the classes.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"n_classes", "counts"})
    counts: Tensor | None

    def __init__(
        self, *, counts: Sequence[int] | None = None, target: str | None = None, n_classes: int | None = None
    ) -> None:
        super().__init__()
        self.target = target
        self.register_buffer("counts", None)
        if n_classes is not None:
            self.set_n_classes(n_classes)
        if counts is not None:
            self.set_counts(counts)

    def set_n_classes(self, n_classes: int) -> None:
        """Receive the number of classes; with it comes the buffer, in its final shape."""
        super().set_n_classes(n_classes)
        if self.counts is None:
            self.register_buffer("counts", torch.zeros(n_classes, dtype=torch.int64))

    def set_counts(self, counts: Tensor | Sequence[int]) -> None:
        """Receive the number of training cases of each class; earlier counts are forgotten.

        Args:
            counts: Shape ``(k,)``, whole numbers, none negative and not all 0.

        Raises:
            ValueError: If a count is out of range, or they are not as many as the classes.
        """
        values = torch.as_tensor(counts, dtype=torch.float64, device="cpu")
        whole = values.isfinite() & (values >= 0) & (values == values.round())
        if values.ndim != 1 or not bool(whole.all()) or not bool(values.any()):
            raise ValueError(
                f"counts must be whole numbers, one per class, none negative and not all 0, got {values.tolist()}"
            )
        if self.n_classes not in (None, len(values)):
            raise ValueError(f"counts must be one per class, {self.n_classes}, got {len(values)}: {values.tolist()}")
        self.set_n_classes(len(values))
        self.get_buffer("counts").copy_(values)
        self.has_counts = True

    def logits_labels_counts(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``(b, k)``, labels ``(b,)`` and counts ``(k,)``.

        Raises:
            ValueError: If shapes or dtypes do not fit, or the counts were never given.
        """
        logits, labels = logits_and_labels(batch, self.target, self.n_classes)
        if self.counts is None or not self.has_counts:
            raise ValueError(
                f"{type(self).__name__} needs the number of training cases of each class: give counts=..., or call "
                "set_counts() once before training"
            )
        return logits, labels, self.counts

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Loading sets the number of classes, if it is unknown, and whether counts are known."""
        counts = state_dict.get(f"{prefix}counts")
        if counts is not None and self.n_classes is None:
            self.set_n_classes(len(counts))
        super()._load_from_state_dict(state_dict, prefix, *args)
        if counts is not None:
            self.has_counts = counts.is_meta or bool(counts.any())
