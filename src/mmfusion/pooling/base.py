"""Pooling: the stages' tokens to one embedding per set of tokens.

A pooling maps a sequence of one dict of :class:`~mmfusion.tokens.Tokens` per stage to a dict of ``(b, d)``, zeros for a
case that lacks the modality. One that depends on numbers of tokens is given their shapes when it is constructed.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from mmfusion.layers.compression import ConvCompression
from mmfusion.options import Count, ModalityNames, Width
from mmfusion.registry import poolings
from mmfusion.tokens import Tokens, TokenShape

Stages: TypeAlias = Sequence[dict[str, Tokens]]
StageShapes: TypeAlias = Sequence[Mapping[str, TokenShape]]
"""The shapes of :data:`Stages`: one dict per stage."""


def masked_mean(tokens: Tokens) -> Tensor:
    """Mean over the real tokens, shape ``(b, d)``; zeros where there is none."""
    if tokens.mask is None:
        return tokens.x.mean(1)
    return tokens.filled().sum(1) / tokens.mask.sum(1, keepdim=True).clamp(min=1)


def first_token(tokens: Tokens) -> Tensor:
    """The first token, shape ``(b, d)``; zeros where no token is real."""
    return where_any(tokens.filled()[:, 0], tokens.mask)


def where_any(embedding: Tensor, mask: Tensor | None) -> Tensor:
    """An embedding ``(b, d)``, zeros for a case without a real token; ``mask`` has shape ``(b, n)``, None: all real."""
    return embedding if mask is None else torch.where(mask.any(1, keepdim=True), embedding, 0.0)


@poolings.register("mean")
class MeanPooling(nn.Module):
    """The mean of the last stage's tokens; masked ones do not count."""

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` per set of tokens."""
        return {name: masked_mean(tokens) for name, tokens in stages[-1].items()}


@poolings.register("first")
class FirstPooling(nn.Module):
    """The last stage's first token, such as a [CLS].

    Args:
        of: The sets of which the first token is read; the others are averaged. None: all of them.
    """

    def __init__(self, *, of: ModalityNames | None = None) -> None:
        super().__init__()
        self.of = None if of is None else tuple(of)

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` per set of tokens."""
        return {
            name: first_token(tokens) if self.of is None or name in self.of else masked_mean(tokens)
            for name, tokens in stages[-1].items()
        }


@poolings.register("stage_pool")
class StagePooling(nn.Module):
    """The mean of each stage's tokens, the stages concatenated and projected.

    Args:
        stages: Shapes of the tokens, one dict per stage.
        names: The modalities.
        dim: Width of the embeddings; None: that of the tokens.
    """

    def __init__(self, stages: StageShapes, names: Sequence[str], *, dim: Width | None = None) -> None:
        super().__init__()
        self.names = tuple(names)
        widths = {name: [stage[name].dim for stage in stages] for name in self.names}
        self.project = nn.ModuleDict(
            {name: nn.Linear(sum(of_name), of_name[-1] if dim is None else dim) for name, of_name in widths.items()}
        )

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, dim)`` per modality."""
        pooled = {name: torch.cat([masked_mean(stage[name]) for stage in stages], -1) for name in self.names}
        return {name: where_any(self.project[name](pooled[name]), stages[-1][name].mask) for name in self.names}


@poolings.register("granularity_merge")
class GranularityMerge(nn.Module):
    """CFCML's granularity merge: the tokens of all stages through one token compression, then the mean.

    ``tc_out[m] = mean_o conv[m]([tc[1, m]; ...; tc[S, m]])[o]`` (CFCML, arXiv 2603.20016, MG-CIE). Because the mean
    follows a linear layer, its filters act as one, their mean: a single filter is the same set of functions with a
    fraction of the parameters, on another path of the optimizer.

    Args:
        stages: Shapes of the tokens, one dict per stage.
        names: The modalities.
        n_filters: Filters by modality, or by ``"images"`` and ``"tables"`` where ``kinds`` says which those are;
            published are as many as a modality has latents. A modality left out has 1.
        kinds: The modalities by kind.

    Raises:
        ValueError: If it names a modality that does not exist.
    """

    def __init__(
        self,
        stages: StageShapes,
        names: Sequence[str],
        kinds: Mapping[str, Sequence[str]] | None = None,
        *,
        n_filters: Mapping[str, Count] | None = None,
    ) -> None:
        super().__init__()
        self.names = tuple(names)
        filters = dict.fromkeys(self.names, 1)
        for key, n in (n_filters or {}).items():
            filters |= dict.fromkeys([key] if key in self.names else (kinds or {}).get(key, [key]), n)
        if set(filters) != set(self.names):
            raise ValueError(f"n_filters must be for the modalities {self.names}, got {n_filters}")
        self.merge = nn.ModuleDict(
            {
                name: ConvCompression(sum(stage[name].n_tokens for stage in stages), n_latents=filters[name])
                for name in self.names
            }
        )

    def forward(self, stages: Stages) -> dict[str, Tensor]:
        """One ``(b, d)`` per modality."""
        embeddings = {}
        for name in self.names:
            tokens = torch.cat([stage[name].filled() for stage in stages], 1)
            merge = cast("ConvCompression", self.merge[name])
            embeddings[name] = where_any(merge.mean(Tokens(tokens)), stages[-1][name].mask)
        return embeddings
