"""Vector fusion: base class, and embeddings stacked with their presence."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfusion.tokens import Present


class VectorFusion(nn.Module):
    """One embedding per modality to one vector: ``(embeddings, present) -> (b, dim_out)``.

    What a case lacks contributes nothing. A subclass defines :meth:`forward`.

    Args:
        names: The embeddings that are read, in order.
        dim_out: Width of the fused vector.
    """

    def __init__(self, names: Sequence[str], *, dim_out: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.dim_out = dim_out

    def forward(self, embeddings: Mapping[str, Tensor], present: Present | None = None) -> Tensor:
        """Fuse.

        Args:
            embeddings: Shape ``(b, d)`` each, by name.
            present: Which cases have which modality, shape ``(b,)`` bool each; a name left out has all.

        Returns:
            Shape ``(b, dim_out)``.
        """
        raise NotImplementedError("a vector fusion defines forward()")  # abstract


def stacked(embeddings: Mapping[str, Tensor], present: Present | None, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Modalities along a first axis.

    Args:
        embeddings: Shape ``(b, d)`` each, by modality.
        present: Which cases have which modality; a name left out has all.
        names: The modalities, in order.

    Returns:
        The embeddings, shape ``(m, b, d)``, zeros where a modality is absent; and shape ``(m, b, 1)`` bool, True where
        it is present.
    """
    first = embeddings[names[0]]
    everyone = torch.ones(first.shape[0], dtype=torch.bool, device=first.device)
    mask = torch.stack([(present or {}).get(name, everyone) for name in names]).unsqueeze(-1)
    return torch.where(mask, torch.stack([embeddings[name] for name in names]), 0.0), mask


def maximum(x: Tensor, mask: Tensor) -> Tensor:
    """The largest value over the modalities that are present.

    Args:
        x: Shape ``(m, b, d)``.
        mask: Shape ``(m, b, 1)``, bool; True where a modality is present.

    Returns:
        Shape ``(b, d)``; zeros for a case without any modality. Modalities with the same largest value share its
        gradient equally; an absent one has none.
    """
    largest = torch.where(mask, x, torch.finfo(x.dtype).min).amax(0)
    return torch.where(mask.any(0), largest, 0.0)
