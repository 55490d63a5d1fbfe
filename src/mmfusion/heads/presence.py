"""Embeddings and presence as single tensors, for heads that leave out what is missing."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmfusion.tokens import Present


def stacked(embeddings: Mapping[str, Tensor], present: Present | None, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Modalities one behind the other.

    Args:
        embeddings: One ``(b, d)`` a modality.
        present: Which cases have which modality; a name left out has all.
        names: The modalities, in order.

    Returns:
        The embeddings, ``(m, b, d)``, zeros where one is missing; and ``(m, b, 1)`` bool, True is there.
    """
    first = embeddings[names[0]]
    everyone = torch.ones(len(first), dtype=torch.bool, device=first.device)
    there = torch.stack([(present or {}).get(name, everyone) for name in names]).unsqueeze(-1)
    return torch.where(there, torch.stack([embeddings[name] for name in names]), 0.0), there
