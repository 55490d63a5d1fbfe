"""The plain methods that every comparison needs: the images alone, the table alone, both side by side."""

from pathlib import Path

from torch import nn

from mmfusion.heads import ConcatHead
from mmfusion.interactions import SelfAttention
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, build_objective
from mmfusion.models.pooled import pooled_model
from mmfusion.options import Depth, Dropout, Expansion, Heads, Name, Probability, Width, Widths
from mmfusion.readouts import FirstReadout, MeanReadout
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec
from mmfusion.tokenizers import create_tabular_tokenizer


@models.register("image")
def image(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """The images alone: each encoded, pooled and projected, then side by side through an MLP.

    Args:
        spec: The data; tables are ignored, also where the inputs hold them.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of an image's embedding.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no image.
    """
    if not spec.images:
        raise ValueError(f"'image' needs an image modality, the spec has {spec.names}")
    seen = spec.only(*spec.images)
    return pooled_model(
        seen,
        lambda: ConcatHead(seen, dim=dim, hidden=hidden, dropout=dropout),
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        dim=dim,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
        ignored=tuple(spec.tables),
    )


@models.register("concat")
def concat(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    token_norm: bool = False,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """Plain concatenation: ``[pool(image); MLP(table)]`` through an MLP.

    A tokenizer of several tokens is averaged over them.

    Args:
        spec: The data.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of each modality's embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        token_norm: Bring the tokens of all modalities to one scale before they meet; see
            :class:`~mmfusion.models.FusionModel`.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.
    """
    return pooled_model(
        spec,
        lambda: ConcatHead(spec, dim=dim, hidden=hidden, dropout=dropout),
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        token_norm=token_norm,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
    )


@models.register("tabular")
def tabular(
    spec: DataSpec,
    *,
    dim: Width = 64,
    tabular_tokenizer: Choice = "feature",
    depth: Depth = 3,
    n_heads: Heads = 4,
    expansion: Expansion = 2.0,
    input_norm: bool = True,
    hidden: Widths = (),
    dropout: Dropout = 0.1,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """The table alone: FT-Transformer (Gorishniy et al., 2021, arXiv 2106.11959, section 3.3).

    The prediction is ``linear(relu(norm(cls)))``, the embedding ``norm(cls)``; of several tables they stand side by
    side.

    NOTE[DIFF] Narrower than the paper's default (192), with GELU instead of ReGLU and without dropout in the attention:
    clinical tables have a few columns. NOTE[DIFF] The first block normalises its tokens as the others do. The paper's
    does not, and tokens as small as they begin then tell little beside the [CLS]: one block on HAM10000's table has
    after 15 epochs a validation AUC of 0.740 instead of 0.801 (means of three splits).

    Args:
        spec: The data; images are ignored, also where the inputs hold them.
        dim: Width of the tokens.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        depth: Transformer blocks; at least 1, without which the [CLS] would know no column.
        n_heads: Heads of each attention.
        expansion: Hidden width of the feed-forward over ``dim``.
        input_norm: False: the first block's attention takes the tokens as they come, as in the paper.
        hidden: Widths of hidden layers between the head's ReLU and its linear map; the paper has none.
        dropout: Probability in the feed-forward and the head.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no table, or ``depth`` is not positive.
    """
    if not spec.tables:
        raise ValueError(f"'tabular' needs a table modality, the spec has {spec.names}")
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    ignored = tuple(spec.images)
    spec = spec.only(*spec.tables)
    blocks: list[nn.Module] = [
        SelfAttention(
            spec.names,
            dim=dim,
            n_heads=n_heads,
            expansion=expansion,
            dropout=dropout,
            input_norm=input_norm or index > 0,
            out_norm=index == depth - 1,
        )
        for index in range(depth)
    ]
    return FusionModel(
        tokenizers={
            name: create_tabular_tokenizer(tabular_tokenizer, spec[name], dim=dim, cls=True) for name in spec.names
        },
        layers=blocks,
        readout=FirstReadout(),
        head=ConcatHead(spec, dim=dim, hidden=hidden, dropout=dropout, rectify=True),
        objective=build_objective(
            spec, dim=dim, terms=terms, classification=classification, label_smoothing=label_smoothing
        ),
        ignored=ignored,
    )


@models.register("tabular-mlp")
def tabular_mlp(
    spec: DataSpec,
    *,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """The table alone: a multilayer perceptron of its cells (Gorishniy et al., 2021, arXiv 2106.11959, section 3.1).

    The table's part of ``concat``: two linear layers with a ReLU between them make the embedding, which through another
    ReLU, the hidden layers and a linear map becomes the prediction. A tokenizer of several tokens is averaged over
    them. Several tables stand side by side before the hidden layers.

    NOTE[DIFF] Categories are one-hot instead of embedded, which before a linear map is the same set of functions.
    NOTE[DIFF] Dropout after the hidden layers alone; the tokenizer has its own option.

    Args:
        spec: The data; images are ignored, also where the inputs hold them.
        dim: Width of the first two layers.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        hidden: Widths of the layers behind them.
        dropout: Probability after each of ``hidden``.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec has no table.
    """
    if not spec.tables:
        raise ValueError(f"'tabular-mlp' needs a table modality, the spec has {spec.names}")
    seen = spec.only(*spec.tables)
    return FusionModel(
        tokenizers={name: create_tabular_tokenizer(tabular_tokenizer, seen[name], dim=dim) for name in seen.names},
        readout=MeanReadout(),
        head=ConcatHead(seen, dim=dim, hidden=hidden, dropout=dropout, rectify=True),
        objective=build_objective(
            seen, dim=dim, terms=terms, classification=classification, label_smoothing=label_smoothing
        ),
        ignored=tuple(spec.images),
    )
