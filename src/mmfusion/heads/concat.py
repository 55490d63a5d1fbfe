"""The embeddings side by side."""

import torch
from torch import Tensor, nn

from mmfusion.heads.mlp import hidden_layers, output_layers
from mmfusion.options import Dropout, Width, Widths, checked
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
        rectify: A ReLU of the embeddings before the first layer.
    """

    @checked
    def __init__(
        self, spec: DataSpec, *, dim: Width, hidden: Widths = (128,), dropout: Dropout = 0.5, rectify: bool = False
    ) -> None:
        super().__init__()
        self.names = spec.names
        self.rectify = rectify
        self.shared, width = hidden_layers(dim * len(self.names), hidden, dropout)
        self.outputs = output_layers(spec.targets, width)

    def forward(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs.

        Args:
            embeddings: One ``(b, dim)`` a modality.

        Returns:
            One ``(b, n_out)`` a target.
        """
        x = torch.cat([embeddings[name] for name in self.names], -1)
        x = self.shared(x.relu() if self.rectify else x)
        return {name: output(x) for name, output in self.outputs.items()}


Concat = ConcatHead
