"""What the models share that reduce each modality to one embedding before anything is fused."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, Weight, build_objective
from mmfusion.models.parts import image_encoders
from mmfusion.readouts import MeanReadout
from mmfusion.registry import Choice
from mmfusion.spec import DataSpec
from mmfusion.tokenizers import Pool, create_tabular_tokenizer


def pooled_model(
    spec: DataSpec,
    head: Callable[[], nn.Module],
    *,
    encoder: str,
    weights: str | Path,
    shared_encoder: bool,
    dim: int,
    tabular_tokenizer: Choice = "mlp",
    token_norm: bool = False,
    terms: TermSettings | None,
    classification: Choice | None,
    label_smoothing: float,
    own_terms: Mapping[str, tuple[Weight, nn.Module]] | None = None,
    layers: Sequence[nn.Module] = (),
    ignored: tuple[str, ...] = (),
) -> FusionModel:
    """Images encoded, averaged and projected, tables as the mean of their tokens, all of one width; then a head.

    Args:
        spec: The data.
        head: Makes what is between embeddings and outputs; called after the encoders and tokenizers were made.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of each modality's embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options.
        token_norm: Bring the tokens of all modalities to one scale before they meet; see
            :class:`~mmfusion.models.FusionModel`.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.
        own_terms: The method's own losses with their weights.
        layers: Interactions of the one token a modality.
        ignored: Modalities that inputs may hold and the model does not look at.

    Returns:
        The model, with its objective.
    """
    encoders, routes = image_encoders(spec, encoder=encoder, weights=weights, shared=shared_encoder, n_stages=1)
    return FusionModel(
        encoders=encoders,
        routes=routes,
        tokenizers={
            name: Pool(spec[name], dim=dim)
            if name in spec.images
            else create_tabular_tokenizer(tabular_tokenizer, spec[name], dim=dim)
            for name in spec.names
        },
        layers=layers,
        readout=MeanReadout(),
        head=head(),
        objective=build_objective(
            spec,
            dim=dim,
            own_terms=own_terms,
            terms=terms,
            classification=classification,
            label_smoothing=label_smoothing,
        ),
        ignored=ignored,
        token_norm=token_norm,
    )
