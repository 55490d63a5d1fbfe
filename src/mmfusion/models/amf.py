"""AMF: adaptive modulation and fusion (Yu et al., 2025)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from mmfusion.heads import FusedHead, SplitFusion
from mmfusion.losses.density import DensityLoss
from mmfusion.losses.leakage import LeakageLoss
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings
from mmfusion.models.pooled import pooled_model
from mmfusion.options import Dropout, LossWeight, Name, NotNegative, Probability, Width, Widths
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec
from mmfusion.tokens import Tokens


@models.register("amf")
def amf(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    token_norm: bool = False,
    confidence: NotNegative = 1.0,
    density_weight: LossWeight = 5.0,
    leakage_weight: LossWeight = 5.0,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Each modality projected to one width, of which it gives the fused vector its own part; two losses keep it there.

    Of the ``dim`` features tables have ``dim / (1 + confidence)``, rounded down, and images the rest; several of a kind
    share equally. See :class:`~mmfusion.heads.SplitFusion`, :mod:`mmfusion.losses.density` and
    :mod:`mmfusion.losses.leakage`.

    NOTE[DIFF] The module alone, without the paper's tabular encoder FT-Mamba and its contrastive pretraining.
    NOTE[DIFF] 128 features instead of 2048, no batch normalisation in the projections, and the MLP that the other
    methods have instead of a linear layer; ``hidden=()`` leaves one. NOTE[DIFF] With more than two modalities density
    is compared in every pair.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of each modality's embedding and of the fused vector (D).
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        token_norm: Bring the tokens of all modalities to one scale before they meet; see
            :class:`~mmfusion.models.FusionModel`.
        confidence: How much the images are trusted over the tables, the ratio of their parts; the paper's prior
            knowledge of a dataset (0.95 in its configuration for OL3I).
        density_weight: Of the loss that makes the parts equally dense.
        leakage_weight: Of the loss on what lies outside the own part.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If ``confidence`` is negative, or leaves a modality without a feature.
    """
    parts = shares(spec, dim, confidence)
    return pooled_model(
        spec,
        lambda: FusedHead(spec, SplitFusion(parts), width=dim, hidden=hidden, dropout=dropout),
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        token_norm=token_norm,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
        own_terms={"density": (density_weight, DensityLoss(parts)), "leakage": (leakage_weight, LeakageLoss(parts))},
        layers=[Projection(spec.names, dim=dim)],
    )


def shares(spec: DataSpec, dim: int, confidence: float) -> dict[str, int]:
    """How many of the features each modality has.

    Args:
        spec: The data.
        dim: Features in all.
        confidence: Features of the images over those of the tables.

    Returns:
        By modality, in the spec's order.

    Raises:
        ValueError: If ``confidence`` is negative, or a modality is left without a feature.
    """
    if not 0 <= confidence < float("inf"):
        raise ValueError(f"confidence must be finite and not negative, got {confidence}")
    tables = int(dim / (1 + confidence)) if spec.images and spec.tables else dim
    parts: dict[str, int] = {}
    for names, width in ((tuple(spec.tables), tables), (tuple(spec.images), dim - tables if spec.tables else dim)):
        parts |= {name: width // len(names) + (i < width % len(names)) for i, name in enumerate(names)}
    if not all(parts.values()):
        raise ValueError(
            f"dim={dim} and confidence={confidence} leave a modality without a feature: {_ordered(spec, parts)}. Take "
            "a larger dim, or a confidence nearer to 1"
        )
    return _ordered(spec, parts)


def _ordered(spec: DataSpec, parts: Mapping[str, int]) -> dict[str, int]:
    return {name: parts[name] for name in spec.names}


class Projection(nn.Module):
    """ReLU and a linear layer of its own for each modality's tokens: what makes a projector of a linear embedding.

    Args:
        names: The modalities, in order.
        dim: Width of the tokens.
    """

    def __init__(self, names: Sequence[str], *, dim: int) -> None:
        super().__init__()
        self.project = nn.ModuleDict({name: nn.Sequential(nn.ReLU(), nn.Linear(dim, dim)) for name in names})

    def forward(self, tokens: dict[str, Tokens]) -> dict[str, Tokens]:
        """As many tokens a modality as come in, with the same masks."""
        return {name: Tokens(self.project[name](one.filled()), one.mask) for name, one in tokens.items()}
