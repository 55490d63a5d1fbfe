"""MMCL: contrastive pretraining of images with tables (Hager et al., 2023)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mmfusion.heads import ConcatHead
from mmfusion.losses import LossBank
from mmfusion.losses.info_nce import InfoNCELoss
from mmfusion.models.corruption import Corruption
from mmfusion.models.model import FusionModel
from mmfusion.models.objectives import TermSettings, build_objective
from mmfusion.models.parts import image_encoders
from mmfusion.models.phases import Phase
from mmfusion.options import Dropout, Name, Probability, TemperatureValue, Width, Widths
from mmfusion.readouts import MeanReadout
from mmfusion.registry import Choice, models
from mmfusion.spec import DataSpec
from mmfusion.tokenizers import Pool, create_tabular_tokenizer
from mmfusion.tokens import FusionOutput, Inputs, Present, Table


@models.register("mmcl")
def mmcl(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    projection_dim: Width = 128,
    temperature: TemperatureValue = 0.1,
    image_weight: Probability = 0.5,
    corruption_rate: Probability = 0.3,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """``concat``, after a phase ``pretrain`` in which each image and its table are brought together; MMCL.

    Pretraining minimises the contrastive loss of CLIP between projections of the images and of a table some of whose
    cells are drawn anew; training goes on with everything from there. It has as many epochs as training unless
    ``train.phase_epochs.pretrain`` says otherwise.

    NOTE[DIFF] The paper predicts from the image alone, which is ``mmcl-image``. NOTE[DIFF] A cell is corrupted by a
    draw of its own; the public code corrupts a fixed number of cells a row, which is none in a table of three columns.
    NOTE[DIFF] With several images, the loss is the mean over the pairs of an image and a table.

    Args:
        spec: The data, with an image and a table.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of each modality's embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        projection_dim: Width of what the contrastive loss compares.
        temperature: Of the contrastive loss (tau).
        image_weight: What finding the table from the image counts, 0 to 1 (lambda); the other way counts the rest.
        corruption_rate: Probability that a cell of the table is drawn from its column's marginal.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses of the training phase; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with the objectives of its two phases.

    Raises:
        ValueError: If the spec has no image or no table, or an option is out of range.
    """
    return _mmcl(
        spec,
        name="mmcl",
        image_only=False,
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        projection_dim=projection_dim,
        temperature=temperature,
        image_weight=image_weight,
        corruption_rate=corruption_rate,
        hidden=hidden,
        dropout=dropout,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
    )


@models.register("mmcl-image")
def mmcl_image(
    spec: DataSpec,
    *,
    encoder: Name = "convnet",
    weights: str | Path = "none",
    shared_encoder: bool = True,
    dim: Width = 128,
    tabular_tokenizer: Choice = "mlp",
    projection_dim: Width = 128,
    temperature: TemperatureValue = 0.1,
    image_weight: Probability = 0.5,
    corruption_rate: Probability = 0.3,
    hidden: Widths = (128,),
    dropout: Dropout = 0.5,
    terms: TermSettings | None = None,
    classification: Choice | None = None,
    label_smoothing: Probability = 0.0,
) -> FusionModel:
    """``image``, after a phase ``pretrain`` with the table; what MMCL's paper evaluates. See :func:`mmcl`.

    The table is needed in pretraining alone; predictions do not look at it.

    Args:
        spec: The data, with an image and a table.
        encoder: A registered backbone's name, or timm's.
        weights: ``"none"``, ``"pretrained"``, ``"bundled"`` or a file.
        shared_encoder: One encoder for all images of one shape, or one each.
        dim: Width of each modality's embedding.
        tabular_tokenizer: A registered tabular tokenizer, or a mapping with its name and options; see
            :mod:`mmfusion.tokenizers.tabular`.
        projection_dim: Width of what the contrastive loss compares.
        temperature: Of the contrastive loss (tau).
        image_weight: What finding the table from the image counts, 0 to 1 (lambda); the other way counts the rest.
        corruption_rate: Probability that a cell of the table is drawn from its column's marginal.
        hidden: Widths of the head's hidden layers.
        dropout: Probability after each of them.
        terms: More losses of the training phase; see :func:`~mmfusion.models.objectives.build_objective`.
        classification: A registered loss of logits and labels; None: cross-entropy.
        label_smoothing: Of the cross-entropy.

    Returns:
        The model, with the objectives of its two phases.

    Raises:
        ValueError: If the spec has no image or no table, or an option is out of range.
    """
    return _mmcl(
        spec,
        name="mmcl-image",
        image_only=True,
        encoder=encoder,
        weights=weights,
        shared_encoder=shared_encoder,
        dim=dim,
        tabular_tokenizer=tabular_tokenizer,
        projection_dim=projection_dim,
        temperature=temperature,
        image_weight=image_weight,
        corruption_rate=corruption_rate,
        hidden=hidden,
        dropout=dropout,
        terms=terms,
        classification=classification,
        label_smoothing=label_smoothing,
    )


def _mmcl(
    spec: DataSpec,
    *,
    name: str,
    image_only: bool,
    encoder: str,
    weights: str | Path,
    shared_encoder: bool,
    dim: int,
    tabular_tokenizer: Choice,
    projection_dim: int,
    temperature: float,
    image_weight: float,
    corruption_rate: float,
    hidden: Sequence[int],
    dropout: float,
    terms: TermSettings | None,
    classification: Choice | None,
    label_smoothing: float,
) -> FusionModel:
    if not spec.images or not spec.tables:
        raise ValueError(f"{name!r} needs an image and a table modality, the spec has {spec.names}")
    encoders, routes = image_encoders(spec, encoder=encoder, weights=weights, shared=shared_encoder, n_stages=1)
    images: dict[str, nn.Module] = {key: Pool(spec[key], dim=dim) for key in spec.images}
    tables = {key: create_tabular_tokenizer(tabular_tokenizer, spec[key], dim=dim) for key in spec.tables}
    seen = spec.only(*spec.images) if image_only else spec
    contrast = Contrast(
        spec,
        dim=dim,
        projection_dim=projection_dim,
        temperature=temperature,
        image_weight=image_weight,
        corruption_rate=corruption_rate,
        tables=_embedding(tables, ignored=tuple(spec.images)) if image_only else None,
    )
    return Contrasted(
        contrast,
        encoders=encoders,
        routes=routes,
        tokenizers={key: images[key] if key in images else tables[key] for key in seen.names},
        readout=MeanReadout(),
        head=ConcatHead(seen, dim=dim, hidden=hidden, dropout=dropout),
        objective=build_objective(
            seen, dim=dim, terms=terms, classification=classification, label_smoothing=label_smoothing
        ),
        ignored=tuple(spec.tables) if image_only else (),
    )


def _embedding(tokenizers: dict[str, Any], *, ignored: tuple[str, ...]) -> FusionModel:
    """From tables to embeddings, without outputs."""
    return FusionModel(tokenizers=tokenizers, readout=MeanReadout(), head=NoOutputs(), ignored=ignored)


class NoOutputs(nn.Module):
    """The head of a model that ends in embeddings."""

    def forward(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """No target."""
        return {}


class Contrast(nn.Module):
    """What MMCL's pretraining needs beside the model: corruption, projections, the loss.

    Args:
        spec: The data.
        dim: Width of each modality's embedding.
        projection_dim: Width of what is compared.
        temperature: Of the loss.
        image_weight: What the direction from the image to the table counts.
        corruption_rate: Probability of a cell.
        tables: Gives the tables' embeddings where the model itself does not; None: the model does.
    """

    def __init__(
        self,
        spec: DataSpec,
        *,
        dim: int,
        projection_dim: int,
        temperature: float,
        image_weight: float,
        corruption_rate: float,
        tables: FusionModel | None,
    ) -> None:
        super().__init__()
        self.tables = tables
        self.corruption = nn.ModuleDict(
            {name: Corruption(columns, rate=corruption_rate) for name, columns in spec.tables.items()}
        )
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection_dim)) for name in spec.names}
        )
        clip = InfoNCELoss(
            pairs=[(image, table) for image in spec.images for table in spec.tables],
            temperature=temperature,
            first_weight=image_weight,
        )
        self.objective = LossBank(None, {"clip": (1.0, clip)})

    def corrupted(self, inputs: Inputs, present: Present | None) -> Inputs:
        """The inputs with cells of the tables drawn anew."""
        tables = {name: table for name, table in inputs.items() if isinstance(table, Table)}
        return {**inputs, **{name: self.corruption[name](x, (present or {}).get(name)) for name, x in tables.items()}}

    def projected(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the loss compares."""
        return {name: self.project[name](embeddings[name]) for name in self.project}


class Contrasted(FusionModel):
    """A fusion model before whose training its images and tables are brought together.

    Args:
        contrast: What that needs.
        parts: As :class:`~mmfusion.models.model.FusionModel` takes them.
    """

    def __init__(self, contrast: Contrast, **parts: Any) -> None:
        super().__init__(**parts)
        self.contrast = contrast

    @property
    def row_learners(self) -> list[tuple[str, nn.Module]]:
        """What learns from training rows beside the model's own tokenizers, with its modality."""
        tables = self.contrast.tables
        return [*self.contrast.corruption.items(), *(tables.tokenizers.items() if tables is not None else ())]

    def phases(self) -> list[Phase]:
        """Pretraining of all but the head, then training of all but what pretraining alone needs."""
        (train,) = super().phases()
        pretrain = Phase("pretrain", self.contrast.objective, self.groups(without=[self.head]), Pretraining(self))
        return [pretrain, train._replace(parameters=self.groups(without=[self.contrast]))]


class Pretraining(nn.Module):
    """The forward of the phase ``pretrain``: projections of the images and of corrupted tables, no outputs.

    Args:
        model: Whose encoders and tokenizers are pretrained.
    """

    def __init__(self, model: Contrasted) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """Projections of all modalities."""
        contrast = self.model.contrast
        inputs = contrast.corrupted(inputs, present)
        embeddings = self.model(inputs, present).embeddings
        if contrast.tables is not None:
            embeddings = embeddings | contrast.tables(inputs, present).embeddings
        return FusionOutput({}, contrast.projected(embeddings), {})
