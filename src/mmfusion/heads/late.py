"""Late fusion: each modality decides, the decisions are combined."""

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from mmfusion.heads.concat import ConcatHead
from mmfusion.heads.presence import stacked
from mmfusion.options import Dropout, Width, Widths, checked
from mmfusion.spec import DataSpec, Regression
from mmfusion.tokens import Present

Combine: TypeAlias = Literal["mean", "learned", "product", "max"]


class LateHead(nn.Module):
    """A head of its own for each modality; a target's outputs are combined over the modalities that a case has.

    ``"mean"`` and ``"max"`` are those of the logits. ``"learned"`` is their weighted mean, with the softmax of one
    parameter a modality as weights, which start equal. ``"product"`` is their sum: the softmax of a sum of logits is
    the product of the probabilities, normalised, and so it is for the sigmoid (product rule; Kittler et al., 1998).

    What a case lacks is left out and the weights of the rest are normalised anew. A case that has nothing gets zeros.

    Args:
        spec: Names of the modalities and the targets.
        dim: Width of each embedding.
        combine: How.
        hidden: Widths of each head's hidden layers; empty for linear heads.
        dropout: Probability after each hidden layer.

    Raises:
        ValueError: If ``combine`` is none of these, or ``"product"`` is asked for a regression, which has no
            probabilities.
    """

    takes_present = True

    @checked
    def __init__(
        self,
        spec: DataSpec,
        *,
        dim: Width,
        combine: Combine = "mean",
        hidden: Widths = (128,),
        dropout: Dropout = 0.5,
    ) -> None:
        super().__init__()
        if combine not in get_args(Combine):
            raise ValueError(f"combine must be one of {get_args(Combine)}, got {combine!r}")
        numbers = [name for name, target in spec.targets.items() if isinstance(target, Regression)]
        if combine == "product" and numbers:
            raise ValueError(
                f"combine='product' multiplies probabilities, the targets {numbers} have none: take 'mean'"
            )
        self.names = spec.names
        self.combine: Combine = combine
        self.heads = nn.ModuleDict(
            {name: ConcatHead(spec.only(name), dim=dim, hidden=hidden, dropout=dropout) for name in self.names}
        )
        self.weight = nn.Parameter(torch.zeros(len(self.names))) if combine == "learned" else None

    def forward(self, embeddings: dict[str, Tensor], present: Present | None = None) -> dict[str, Tensor]:
        """Outputs.

        Args:
            embeddings: One ``(b, dim)`` a modality.
            present: Which cases have which modality, ``(b,)`` bool; a name left out has all.

        Returns:
            One ``(b, n_out)`` a target.
        """
        each = {name: head({name: embeddings[name]}) for name, head in self.heads.items()}
        targets = next(iter(each.values()))
        return {
            target: self._combined(*stacked({name: each[name][target] for name in self.names}, present, self.names))
            for target in targets
        }

    def _combined(self, logits: Tensor, there: Tensor) -> Tensor:
        """``(m, b, k)``, zeros where one is missing, and ``(m, b, 1)`` to ``(b, k)``."""
        if self.combine == "product":
            return logits.sum(0)
        if self.combine == "max":
            return maximum(logits, there)
        if self.weight is None:
            return logits.sum(0) / there.sum(0).clamp(min=1)
        score = torch.where(there, self.weight.view(-1, 1, 1), torch.finfo(self.weight.dtype).min)
        return (score.softmax(0).to(logits.dtype) * logits).sum(0)


def maximum(x: Tensor, there: Tensor) -> Tensor:
    """The largest over the modalities that are there.

    Args:
        x: Shape ``(m, b, d)``.
        there: Shape ``(m, b, 1)``, bool; True is there.

    Returns:
        Shape ``(b, d)``; zeros for a case that has nothing. Modalities with the same largest value share its gradient
        equally; what is missing has none.
    """
    largest = torch.where(there, x, torch.finfo(x.dtype).min).amax(0)
    return torch.where(there.any(0), largest, 0.0)
