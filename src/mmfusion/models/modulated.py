"""What the methods share whose table acts on the maps inside the image encoders."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from mmfusion.heads import ConcatHead
from mmfusion.interactions.modulators import Modulator
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, build_objective
from mmfusion.models.parts import image_encoders
from mmfusion.readouts import MeanReadout
from mmfusion.registry import Choice
from mmfusion.spec import Columns, DataSpec
from mmfusion.tokenizers import MeanToken, Pool, TableCells, create_tabular_tokenizer


def modulated(
    name: str,
    spec: DataSpec,
    modulator: Callable[[Mapping[str, str]], Modulator],
    *,
    encoder: str,
    weights: str | Path,
    shared_encoder: bool,
    n_stages: int,
    dim: int,
    tabular_tokenizer: Choice | None = None,
    hidden: Sequence[int],
    dropout: float,
    terms: TermSettings | None,
    classification: Choice | None,
    label_smoothing: float,
    with_table: bool = False,
) -> FusionModel:
    """Images, encoded under a modulator that sees the table, then pooled, projected and through an MLP.

    Args:
        name: The method's, for messages.
        spec: The data.
        modulator: Makes the modulator from the images' routes.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each; the modulator's weights follow.
        n_stages: Stages of the encoder that a modulator can stand between, counted from the last.
        dim: Width of each embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options: what the modulator
            sees is the mean of its tokens, and the table's embedding where it has one is another's. None: the cells
            themselves, and for the embedding an MLP.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.
        with_table: The table has an embedding beside the images', as in ``concat``; False: it acts by the modulator
            alone, and a table is needed.

    Returns:
        The model, with its objective.

    Raises:
        ValueError: If the spec lacks an image or a table that is needed.
    """
    if not spec.images or not (spec.tables or with_table):
        needs = "an image modality" if with_table else "an image modality and a table that conditions it"
        raise ValueError(f"{name!r} needs {needs}, the spec has {spec.names}")
    encoders, routes = image_encoders(spec, encoder=encoder, weights=weights, shared=shared_encoder, n_stages=n_stages)
    read = spec if with_table else spec.only(*spec.images)
    of_tables: Choice = "mlp" if tabular_tokenizer is None else tabular_tokenizer
    tokenizers: dict[str, nn.Module] = {
        key: Pool(spec[key], dim=dim) if key in spec.images else create_tabular_tokenizer(of_tables, spec[key], dim=dim)
        for key in read.names
    }
    return FusionModel(
        encoders=encoders,
        routes=routes,
        modulators=[modulator(routes)],
        context={key: _told(tabular_tokenizer, columns, dim=dim) for key, columns in spec.tables.items()},
        tokenizers=tokenizers,
        readout=MeanReadout(),
        head=ConcatHead(read, dim=dim, hidden=hidden, dropout=dropout),
        objective=build_objective(
            spec, dim=dim, terms=terms, classification=classification, label_smoothing=label_smoothing
        ),
    )


def _told(choice: Choice | None, columns: Columns, *, dim: int) -> nn.Module:
    """What a modulator is told of a table."""
    return TableCells(columns) if choice is None else MeanToken(create_tabular_tokenizer(choice, columns, dim=dim))


def mean_square(tables: Mapping[str, Columns]) -> float:
    """Of the cells that :class:`~mmfusion.tokenizers.TableCells` gives, where numbers are standardised."""
    width = sum(TableCells(columns).dim for columns in tables.values())
    return sum(len(columns) for columns in tables.values()) / max(1, width)
