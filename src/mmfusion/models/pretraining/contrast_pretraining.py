"""MMCL's pretraining: a contrastive loss between images and corrupted tables."""

from dataclasses import replace

from torch import nn

from mmfusion.heads import MLPHead
from mmfusion.losses import InfoNCELoss, LossBank
from mmfusion.models.assembly import assemble
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.phases import Pretraining
from mmfusion.models.pretraining.corruption import Corruption
from mmfusion.options import Probability, TemperatureValue, Width
from mmfusion.registry import pretrainings
from mmfusion.tokens import FusionOutput, Inputs, Present, Table


@pretrainings.register("mmcl")
class ContrastPretraining(Pretraining):
    """Projections of the images and of tables some of whose cells are drawn anew, brought together (MMCL).

    The contrastive loss of CLIP (Hager et al., 2023, arXiv 2303.14080, section 3.1; corruption as in SCARF, Bahri et
    al., 2022). Tables that the model does not read have tokenizers of their own here.

    Args:
        model: Assembled from a blueprint, for images and tables.
        projection_dim: Width of what is compared.
        temperature: Of the loss (tau).
        image_weight: Weight of the direction from the image to the table (lambda).
        corruption_rate: Probability that a cell is drawn from its column's marginal.

    Raises:
        ValueError: If the model was not assembled from a blueprint.
    """

    model: FusionModel

    def __init__(
        self,
        model: FusionModel,
        *,
        projection_dim: Width = 128,
        temperature: TemperatureValue = 0.1,
        image_weight: Probability = 0.5,
        corruption_rate: Probability = 0.3,
    ) -> None:
        spec, blueprint = model.spec, model.blueprint
        if spec is None or blueprint is None:
            raise ValueError("this pretraining needs a model that was assembled from a blueprint")
        dim = blueprint.dim
        clip = InfoNCELoss(
            pairs=[(image, table) for image in spec.images for table in spec.tables],
            temperature=temperature,
            first_weight=image_weight,
        )
        super().__init__(model, LossBank(None, {"clip": (1.0, clip)}))
        unread = [name for name in spec.tables if name not in model.tokenizers]
        self.tables = assemble(replace(blueprint, reads=unread, pretraining=None), spec) if unread else None
        if self.tables is not None:
            self.tables.head = MLPHead({}, dim=dim, hidden=())  # it ends in embeddings
        self.corruption = nn.ModuleDict(
            {name: Corruption(columns, rate=corruption_rate) for name, columns in spec.tables.items()}
        )
        self.project = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection_dim)) for name in spec.names}
        )

    @property
    def row_learners(self) -> list[tuple[str, nn.Module]]:
        """Corruption, and the tokenizers of tables that the model does not read."""
        return [*self.corruption.items(), *(self.tables.tokenizers.items() if self.tables is not None else ())]

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """Projections of all modalities as embeddings, no outputs."""
        tables = {name: x for name, x in inputs.items() if isinstance(x, Table)}
        corrupted = {name: self.corruption[name](x, (present or {}).get(name)) for name, x in tables.items()}
        inputs = {**inputs, **corrupted}
        embeddings = self.model(inputs, present).embeddings
        if self.tables is not None:
            embeddings = embeddings | self.tables(inputs, present).embeddings
        return FusionOutput({}, {name: project(embeddings[name]) for name, project in self.project.items()}, {})
