"""The embeddings fused to one vector, and from there to the outputs."""

from torch import Tensor, nn

from mmfusion.heads.mlp import hidden_layers, output_layers
from mmfusion.options import Dropout, Width, Widths, checked
from mmfusion.spec import DataSpec
from mmfusion.tokens import Present


class FusedHead(nn.Module):
    """A fusion of the embeddings to one vector, through linear layers with ReLU and dropout, to each target.

    Args:
        spec: The targets.
        fusion: Called as ``fusion(embeddings, present)``, gives ``(b, width)``.
        width: Of what it gives.
        hidden: Widths of the hidden layers, shared by the targets; empty for a linear head.
        dropout: Probability after each hidden layer.
    """

    takes_present = True

    @checked
    def __init__(
        self, spec: DataSpec, fusion: nn.Module, *, width: Width, hidden: Widths = (128,), dropout: Dropout = 0.5
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.shared, width = hidden_layers(width, hidden, dropout)
        self.outputs = output_layers(spec.targets, width)

    def forward(self, embeddings: dict[str, Tensor], present: Present | None = None) -> dict[str, Tensor]:
        """Outputs.

        Args:
            embeddings: One ``(b, d)`` a modality.
            present: Which cases have which modality, ``(b,)`` bool; a name left out has all.

        Returns:
            One ``(b, n_out)`` a target.
        """
        x = self.shared(self.fusion(embeddings, present))
        return {name: output(x) for name, output in self.outputs.items()}
