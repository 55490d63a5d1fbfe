"""From the stages' tokens to one embedding a modality.

Every readout gives zeros for a case that lacks the modality.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mmfusion.layers.compression import ConvCompression
from mmfusion.options import Count, Width
from mmfusion.registry import readouts
from mmfusion.tokens import Tokens

Stages = Sequence[dict[str, Tokens]]


def _where_any(embedding: Tensor, mask: Tensor | None) -> Tensor:
    return embedding if mask is None else torch.where(mask.any(1, keepdim=True), embedding, 0.0)


@readouts.register("mean")
class MeanReadout(nn.Module):
    """The mean of the last stage's tokens; masked ones do not count."""

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` a modality."""
        return {name: masked_mean(tokens) for name, tokens in stages[-1].items()}


def masked_mean(tokens: Tokens) -> Tensor:
    """Mean over the real tokens, shape ``(b, d)``; zeros where there is none."""
    if tokens.mask is None:
        return tokens.x.mean(1)
    return tokens.filled().sum(1) / tokens.mask.sum(1, keepdim=True).clamp(min=1)


@readouts.register("first")
class FirstReadout(nn.Module):
    """The last stage's first token, such as a [CLS]."""

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` a modality."""
        return {name: _where_any(tokens.filled()[:, 0], tokens.mask) for name, tokens in stages[-1].items()}


@readouts.register("stage_pool")
class StagePool(nn.Module):
    """The mean of each stage's tokens, the stages concatenated and projected.

    Args:
        names: The modalities.
        dim: Width of the tokens and of the embeddings.
    """

    def __init__(self, names: Sequence[str], *, dim: Width) -> None:
        super().__init__()
        self.names = tuple(names)
        self.dim = dim
        self.project: nn.ModuleDict | None = None
        self._n_stages = 0

    def bind(self, stages: Stages) -> None:
        """Build for a number of stages; a fusion model calls it with the stages of a dry run.

        Raises:
            ValueError: If tokens are of another width than ``dim``, or it is bound to another number of stages already.
        """
        widths = {name: [stage[name].x.shape[2] for stage in stages] for name in self.names}
        wrong = {name: found for name, found in widths.items() if set(found) != {self.dim}}
        if wrong:
            raise ValueError(
                f"this readout is for tokens of the width {self.dim}, the stages' are {wrong}: build StagePool with "
                "their width, dim=; tokens of an interaction may be wider than those it takes, as its dim_out says"
            )
        if self.project is not None:
            if len(stages) != self._n_stages:
                raise ValueError(f"this readout is bound to {self._n_stages} stages, got {len(stages)}")
            return
        self._n_stages = len(stages)
        self.project = nn.ModuleDict({name: nn.Linear(len(stages) * self.dim, self.dim) for name in self.names})
        self.project.to(stages[-1][self.names[0]].x.dtype)

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` a modality."""
        if self.project is None:
            raise ValueError("this readout is not bound yet: put it into a FusionModel, or call bind(stages)")
        pooled = {name: torch.cat([masked_mean(stage[name]) for stage in stages], -1) for name in self.names}
        return {name: _where_any(self.project[name](pooled[name]), stages[-1][name].mask) for name in self.names}


@readouts.register("granularity_merge")
class GranularityMerge(nn.Module):
    """CFCML's granularity merge: all stages' tokens through one token compression, then the mean.

    ``tc_out[m] = mean_o conv[m]([tc[1, m]; ...; tc[S, m]])[o]`` (CFCML, arXiv 2603.20016, MG-CIE). Because the mean
    follows a linear layer, its filters act as one, their mean: a single filter is the same set of functions with a
    fraction of the parameters, on another path of the optimiser.

    Args:
        names: The modalities.
        n_filters: Filters by modality; published are as many as the modality had latents. A name left out has 1.

    Raises:
        ValueError: If a number of filters is not positive, or for a modality that is not there.
    """

    def __init__(self, names: Sequence[str], *, n_filters: Mapping[str, Count] | None = None) -> None:
        super().__init__()
        self.names = tuple(names)
        self.n_filters = dict.fromkeys(self.names, 1) | dict(n_filters or {})
        if set(self.n_filters) != set(self.names) or min(self.n_filters.values()) < 1:
            raise ValueError(f"n_filters must be positive, for the modalities {self.names}, got {n_filters}")
        self.merge: nn.ModuleDict | None = None
        self._n_tokens: dict[str, int] = {}

    def bind(self, stages: Stages) -> None:
        """Build for numbers of tokens; a fusion model calls it with the stages of a dry run.

        Args:
            stages: Tokens on any device; only shapes are looked at.

        Raises:
            ValueError: If it is bound to other numbers of tokens already.
        """
        n_tokens = {name: sum(stage[name].x.shape[1] for stage in stages) for name in self.names}
        if self.merge is not None:
            if n_tokens != self._n_tokens:
                raise ValueError(f"this readout is bound to tokens of {self._n_tokens}, got {n_tokens}")
            return
        self._n_tokens = n_tokens
        self.merge = nn.ModuleDict(
            {name: ConvCompression(n_tokens[name], n_latents=self.n_filters[name]) for name in self.names}
        )
        self.merge.to(stages[-1][self.names[0]].x.dtype)

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` a modality."""
        if self.merge is None:
            raise ValueError("this readout is not bound yet: put it into a FusionModel, or call bind(stages)")
        embeddings = {}
        for name in self.names:
            tokens = torch.cat([stage[name].filled() for stage in stages], 1)
            merge = cast("ConvCompression", self.merge[name])
            embeddings[name] = _where_any(merge.mean(Tokens(tokens)), stages[-1][name].mask)
        return embeddings
