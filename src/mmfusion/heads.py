"""From one embedding a modality to the outputs, one entry a target."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfusion.spec import DataSpec


class ConcatHead(nn.Module):
    """The embeddings side by side, through linear layers with ReLU and dropout, to each target.

    CFCML's head is ``hidden=(128, 16), dropout=0.5`` (arXiv 2603.20016; public code). A modality that a case lacks
    stands as zeros.

    Args:
        spec: Names of the modalities and the targets.
        dim: Width of each embedding.
        hidden: Widths of the hidden layers, shared by the targets; empty for a linear head.
        dropout: Probability after each hidden layer.
    """

    def __init__(self, spec: DataSpec, *, dim: int, hidden: Sequence[int] = (128,), dropout: float = 0.5) -> None:
        super().__init__()
        self.names = spec.names
        layers: list[nn.Module] = []
        width = dim * len(self.names)
        for n_hidden in hidden:
            layers += [nn.Linear(width, n_hidden), nn.ReLU(), nn.Dropout(dropout)]
            width = n_hidden
        self.shared = nn.Sequential(*layers)
        self.outputs = nn.ModuleDict({name: nn.Linear(width, target.n_out) for name, target in spec.targets.items()})

    def forward(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs.

        Args:
            embeddings: One ``(b, dim)`` a modality.

        Returns:
            One ``(b, n_out)`` a target.
        """
        x = self.shared(torch.cat([embeddings[name] for name in self.names], -1))
        return {name: output(x) for name, output in self.outputs.items()}


Concat = ConcatHead
