"""Heads that read some of the embeddings, or each of them by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfusion.options import Dropout, Width, Widths, checked
from mmfusion.spec import DataSpec


class Classifier(nn.Module):
    """One embedding through linear layers with ReLU and dropout to each target.

    Args:
        spec: Names of the targets.
        dim: Width of the embedding.
        hidden: Widths of the hidden layers, shared by the targets; empty for a linear map.
        dropout: Probability after each hidden layer.
        norm: Normalise the embedding first.
    """

    @checked
    def __init__(
        self, spec: DataSpec, *, dim: Width, hidden: Widths = (128,), dropout: Dropout = 0.5, norm: bool = False
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.LayerNorm(dim)] if norm else []
        for n_hidden in hidden:
            layers += [nn.Linear(dim, n_hidden), nn.ReLU(), nn.Dropout(dropout)]
            dim = n_hidden
        self.shared = nn.Sequential(*layers)
        self.outputs = nn.ModuleDict({name: nn.Linear(dim, target.n_out) for name, target in spec.targets.items()})

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        """One ``(b, n_out)`` a target, from ``(b, dim)``."""
        x = self.shared(embedding)
        return {name: output(x) for name, output in self.outputs.items()}


class SingleHead(Classifier):
    """The outputs from one of the embeddings, such as that of latents.

    Args:
        spec: Names of the targets.
        of: Name of the embedding.
        dim: Width of it.
        hidden: Widths of the hidden layers; empty for a linear head.
        dropout: Probability after each of them.
        norm: Normalise the embedding first.
    """

    @checked
    def __init__(
        self,
        spec: DataSpec,
        *,
        of: str,
        dim: Width,
        hidden: Widths = (128,),
        dropout: Dropout = 0.5,
        norm: bool = False,
    ) -> None:
        super().__init__(spec, dim=dim, hidden=hidden, dropout=dropout, norm=norm)
        self.of = of

    def forward(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:  # type: ignore[override]  # a head's
        """One ``(b, n_out)`` a target, from embeddings with that one among them."""
        return super().forward(embeddings[self.of])


class AverageHead(nn.Module):
    """A classifier for each embedding, and the mean of their outputs over those that a case has.

    An embedding of zeros is one that the case lacks, as readouts give it. Where it has none the outputs are 0.

    Args:
        spec: Names of the targets.
        names: The embeddings that count.
        dim: Width of each.
        hidden: Widths of the hidden layers; empty for linear classifiers.
        dropout: Probability after each of them.
        shared: One classifier for all of them.
        norm: Each classifier normalises its embedding first.
    """

    @checked
    def __init__(
        self,
        spec: DataSpec,
        *,
        names: Sequence[str],
        dim: Width,
        hidden: Widths = (128,),
        dropout: Dropout = 0.5,
        shared: bool = False,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        self.shared = shared
        keys = ("all",) if shared else self.names
        self.classifiers = nn.ModuleDict(
            {key: Classifier(spec, dim=dim, hidden=hidden, dropout=dropout, norm=norm) for key in keys}
        )

    def forward(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs.

        Args:
            embeddings: One ``(b, dim)`` a name.

        Returns:
            One ``(b, n_out)`` a target.
        """
        x = torch.stack([embeddings[name] for name in self.names])
        there = (x != 0).any(-1, keepdim=True)
        found = [self.classifiers["all" if self.shared else name](one) for name, one in zip(self.names, x, strict=True)]
        n = there.sum(0).clamp(min=1)
        return {
            target: torch.where(there, torch.stack([outputs[target] for outputs in found]), 0.0).sum(0) / n
            for target in found[0]
        }
