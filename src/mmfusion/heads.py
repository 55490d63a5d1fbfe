"""Heads: one vector to the outputs, one entry per target."""

from collections.abc import Mapping

from torch import Tensor, nn

from mmfusion.options import Dropout, TotalWidth, Widths
from mmfusion.registry import heads
from mmfusion.spec import Target

__all__ = ["MLPHead"]


@heads.register("mlp")
class MLPHead(nn.Module):
    """Linear layers with ReLU and dropout, shared by the targets, then one linear layer per target.

    CFCML's head is ``hidden=(128, 16), dropout=0.5`` behind a concatenation (arXiv 2603.20016; public code).

    Args:
        targets: By name; the number of outputs is theirs.
        dim: Width of the vector.
        hidden: Widths of the hidden layers; empty for a linear head.
        dropout: Probability after each hidden layer.
        norm: Layer normalization before the first layer.
        rectify: ReLU before the first layer.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        *,
        dim: TotalWidth,
        hidden: Widths = (128,),
        dropout: Dropout = 0.5,
        norm: bool = False,
        rectify: bool = False,
    ) -> None:
        super().__init__()
        self.rectify = rectify
        layers: list[nn.Module] = [nn.LayerNorm(dim)] if norm else []
        for width in hidden:
            layers += [nn.Linear(dim, width), nn.ReLU(), nn.Dropout(dropout)]
            dim = width
        self.shared = nn.Sequential(*layers)
        self.outputs = nn.ModuleDict({name: nn.Linear(dim, target.n_out) for name, target in targets.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """From ``(b, dim)`` to ``(b, n_out)`` per target."""
        x = self.shared(x.relu() if self.rectify else x)
        return {name: output(x) for name, output in self.outputs.items()}
