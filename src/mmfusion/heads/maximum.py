"""The elementwise maximum of the embeddings."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmfusion.heads.late import maximum
from mmfusion.heads.presence import stacked
from mmfusion.tokens import Present


class MaxFusion(nn.Module):
    """The elementwise maximum over the modalities that a case has; zeros for one that has nothing.

    Equal maxima share the gradient equally; see :func:`~mmfusion.heads.late.maximum`.

    Args:
        names: The modalities, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, embeddings: dict[str, Tensor], present: Present | None = None) -> Tensor:
        """One ``(b, d)`` a modality, and which are there, to ``(b, d)``."""
        return maximum(*stacked(embeddings, present, self.names))
