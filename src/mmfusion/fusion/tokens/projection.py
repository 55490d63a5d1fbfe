"""A projection of each modality's tokens."""

from collections.abc import Sequence

from torch import nn

from mmfusion.fusion.tokens.blocks import TokenFusion
from mmfusion.options import Width
from mmfusion.registry import token_fusions
from mmfusion.tokens import Tokens


@token_fusions.register("projection")
class Projection(TokenFusion):
    """ReLU and a linear layer for each modality's tokens: what makes a projector of a linear embedding.

    Modalities do not see each other.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
    """

    def __init__(self, names: Sequence[str], *, dim: Width) -> None:
        super().__init__(names)
        self.project = nn.ModuleDict({name: nn.Sequential(nn.ReLU(), nn.Linear(dim, dim)) for name in names})

    def fuse(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens per modality as come in, with the same masks."""
        return {name: Tokens(self.project[name](of_name.filled()), of_name.mask) for name, of_name in tokens.items()}
