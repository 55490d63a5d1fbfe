"""Features that belong to modalities: what AMF's two losses share.

Of a fused vector whose features are split between the modalities (Yu et al., 2025, arXiv 2506.19439; the weights and
what the text leaves open are from the public code).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.inputs import stack_embeddings, stack_present
from mmfusion.options import Width


def parts_mask(parts: Mapping[str, int]) -> Tensor:
    """Which features belong to which modality.

    Args:
        parts: How many each has, in their order along the vector.

    Returns:
        Shape ``(m, 1, d)``, bool.

    Raises:
        ValueError: If a modality has none.
    """
    if not parts or min(parts.values()) < 1:
        raise ValueError(f"parts must give each modality at least one feature, got {dict(parts)}")
    owner = torch.tensor([m for m, n in enumerate(parts.values()) for _ in range(n)])
    return (owner == torch.arange(len(parts)).unsqueeze(1)).unsqueeze(1)


class ModulationLoss(Loss):
    """A loss of features that belong to modalities.

    Args:
        parts: How many features belong to each modality, in their order along the vector.

    Raises:
        ValueError: If a modality has none.
    """

    def __init__(self, *, parts: Mapping[str, Width]) -> None:
        super().__init__()
        self.parts = dict(parts)
        # In the state dict: a loss built on the meta device gets it from there.
        self.feature_mask = nn.Buffer(parts_mask(parts))

    def features(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The features ``(m, b, d)``, which belong to the modality, ``(m, 1, d)``, and presence, ``(m, b)``.

        Raises:
            ValueError: If a modality's embeddings are missing, or not as wide as the parts together.
        """
        if missing := sorted(set(self.parts) - set(batch.embeddings)):
            raise ValueError(f"the embeddings of {missing} are missing, got {sorted(batch.embeddings)}")
        embeddings = {name: batch.embeddings[name] for name in self.parts}
        x, width = stack_embeddings(embeddings), sum(self.parts.values())
        if x.shape[-1] != width:
            raise ValueError(f"embeddings as wide as the parts together, {width}, are expected, got {x.shape[-1]}")
        return x, self.feature_mask, stack_present(embeddings, batch.present, x)
