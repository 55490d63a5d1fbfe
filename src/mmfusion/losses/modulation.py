"""AMF's losses: each modality keeps to its own part of the features, and all parts are equally dense.

Of a fused vector whose features are split between the modalities (Yu et al., 2025, arXiv 2506.19439; the weights and
what the text leaves open are from the public code).
"""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor

from mmfusion.losses.functional import mean_where
from mmfusion.losses.inputs import stack_embeddings, stack_present
from mmfusion.losses.term import Term
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


def density_loss(x: Tensor, own: Tensor, present: Tensor) -> Tensor:
    """How far apart the mean sizes of the modalities' own features are.

    ``|mean_own |x_a| - mean_own |x_b||``, the mean over the cases that have both and over pairs of modalities.
    A size has its kink at 0 and a difference where the two are equal: the gradient is 0 there.

    NOTE[DIFF] The public code divides by one length for both parts, having overwritten the other; here each mean is
    over its own part.

    Args:
        x: Projected features, shape ``(m, b, d)``.
        own: Shape ``(m, 1, d)``, bool; True is the modality's own.
        present: Shape ``(m, b)``, bool; True is there. What is not may hold anything.

    Returns:
        A scalar; 0 with a single modality.
    """
    size = torch.where(own & present.unsqueeze(-1), x, 0.0).abs().sum(-1) / own.sum(-1)
    pairs = list(itertools.combinations(range(len(x)), 2))
    if not pairs:
        return size.sum() * 0
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    return mean_where((size[first] - size[second]).abs(), present[first] & present[second])


def leakage_loss(x: Tensor, own: Tensor, present: Tensor) -> Tensor:
    """The mean size of a modality's features outside its own part, over the modalities that each case has.

    A feature of 0 has the gradient 0.

    Args:
        x: As for :func:`density_loss`, and so are the others.
        own: Shape ``(m, 1, d)``.
        present: Shape ``(m, b)``.

    Returns:
        A scalar; 0 with a single modality.
    """
    outside = torch.where(~own & present.unsqueeze(-1), x, 0.0).abs().sum(-1) / (~own).sum(-1).clamp(min=1)
    return mean_where(outside, present)


class _Modulation(Term):
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


class Density(_Modulation):
    """The modalities' own features of equal mean size; see :func:`density_loss`."""

    def formula(self, x: Tensor, own: Tensor, present: Tensor) -> Tensor:
        """The loss."""
        return density_loss(x, own, present)


class Leakage(_Modulation):
    """Nothing of a modality outside its own features; see :func:`leakage_loss`."""

    def formula(self, x: Tensor, own: Tensor, present: Tensor) -> Tensor:
        """The loss."""
        return leakage_loss(x, own, present)
