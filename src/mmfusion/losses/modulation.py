"""Features that belong to modalities: base class."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.inputs import stack_embeddings, stack_present
from mmfusion.tokens import LossInputs


def parts_mask(parts: Mapping[str, int]) -> Tensor:
    """Which features are a modality's own.

    Args:
        parts: How many each has, in their order along the vector.

    Returns:
        Shape ``(m, 1, d)``, bool.

    Raises:
        ValueError: If a modality has none.
    """
    if not parts or min(parts.values()) < 1:
        raise ValueError(f"each modality needs at least one feature of its own, got {dict(parts)}")
    owner = torch.tensor([m for m, n in enumerate(parts.values()) for _ in range(n)])
    return (owner == torch.arange(len(parts)).unsqueeze(1)).unsqueeze(1)


class ModulationLoss(Loss):
    """A loss of features whose parts belong to modalities.

    Args:
        parts: How many features each modality has of its own, in their order along the vector.

    Raises:
        ValueError: If a modality has none.
    """

    def __init__(self, parts: Mapping[str, int]) -> None:
        super().__init__()
        self.parts = dict(parts)
        # In the state dict: a term built on the meta device gets it from there.
        self.register_buffer("own", parts_mask(parts))

    own: Tensor

    def loss(self, inputs: LossInputs) -> Tensor:
        """The loss from loss inputs with the embeddings of all the modalities, as wide as their parts together."""
        width = sum(self.parts.values())
        missing = sorted(set(self.parts) - set(inputs.embeddings))
        if missing:
            raise ValueError(f"the embeddings of {missing} are missing, got {sorted(inputs.embeddings)}")
        embeddings = {name: inputs.embeddings[name] for name in self.parts}
        x = stack_embeddings(embeddings)
        if x.shape[-1] != width:
            raise ValueError(f"embeddings as wide as the parts together, {width}, are expected, got {x.shape[-1]}")
        present = {name: row for name, row in inputs.present.items() if name in self.parts}
        return self.formula(x, self.own, stack_present(embeddings, present, x))

    def formula(self, x: Tensor, own: Tensor, present: Tensor) -> Tensor:
        """What such a loss defines."""
        raise NotImplementedError(f"{type(self).__name__} must define formula()")

    def extra_repr(self) -> str:
        """The parts, for printing."""
        return f"parts={self.parts}"
