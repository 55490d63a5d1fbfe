"""Decision fusion: the outputs of one head per modality, combined.

``(outputs by modality and target, present) -> outputs by target``. What a case lacks is left out, and the weights of
the rest are normalized; a case without any modality gets zeros.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmfusion.fusion.vectors.vector_fusion import maximum, stacked
from mmfusion.registry import decisions
from mmfusion.spec import Regression, Target
from mmfusion.tokens import Present


class DecisionFusion(nn.Module):
    """Combines a target's outputs over the modalities that a case has; a subclass defines :meth:`combine`.

    Args:
        names: The modalities, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def forward(self, outputs: Mapping[str, Mapping[str, Tensor]], present: Present | None = None) -> dict[str, Tensor]:
        """Combine.

        Args:
            outputs: By modality, then by target, shape ``(b, n_out)``.
            present: Which cases have which modality, shape ``(b,)`` bool each; a name left out has all.

        Returns:
            By target, shape ``(b, n_out)``.
        """
        return {
            target: self.combine(*stacked({name: outputs[name][target] for name in self.names}, present, self.names))
            for target in outputs[self.names[0]]
        }

    def combine(self, x: Tensor, mask: Tensor) -> Tensor:
        """From ``(m, b, n_out)``, zeros where a modality is absent, and ``(m, b, 1)`` bool to ``(b, n_out)``."""
        raise NotImplementedError("a decision fusion defines combine()")  # abstract


@decisions.register("mean")
class MeanDecision(DecisionFusion):
    """The mean of the logits."""

    def combine(self, x: Tensor, mask: Tensor) -> Tensor:
        """Mean over the modalities that are present."""
        return x.sum(0) / mask.sum(0).clamp(min=1)


@decisions.register("learned")
class LearnedDecision(DecisionFusion):
    """The weighted mean of the logits; the weights are the softmax of one parameter per modality and start equal."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.weight = nn.Parameter(torch.zeros(len(self.names)))

    def combine(self, x: Tensor, mask: Tensor) -> Tensor:
        """Weighted mean over the modalities that are present."""
        score = torch.where(mask, self.weight.view(-1, 1, 1), torch.finfo(self.weight.dtype).min)
        return (score.softmax(0).to(x.dtype) * x).sum(0)


@decisions.register("product")
class ProductDecision(DecisionFusion):
    """The sum of the logits.

    The softmax of a sum of logits is the normalized product of the probabilities, and so it is for the sigmoid (product
    rule; Kittler et al., 1998).

    Args:
        names: The modalities, in order.
        targets: By name; None: none of them is a regression.

    Raises:
        ValueError: If a target is a regression, which has no probabilities.
    """

    def __init__(self, names: Sequence[str], targets: Mapping[str, Target] | None = None) -> None:
        if numbers := [name for name, target in (targets or {}).items() if isinstance(target, Regression)]:
            raise ValueError(f"'product' multiplies probabilities, the targets {numbers} have none: take 'mean'")
        super().__init__(names)

    def combine(self, x: Tensor, mask: Tensor) -> Tensor:
        """Sum over the modalities that are present."""
        return x.sum(0)


@decisions.register("max")
class MaxDecision(DecisionFusion):
    """The largest logit."""

    def combine(self, x: Tensor, mask: Tensor) -> Tensor:
        """Maximum over the modalities that are present."""
        return maximum(x, mask)
