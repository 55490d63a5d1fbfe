"""TIP's pretraining: contrast, matching with hard negatives, and the reconstruction of hidden cells."""

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfusion.fusion.tokens import Query
from mmfusion.layers.directions import unit
from mmfusion.losses import InfoNCELoss, masked_columns_loss
from mmfusion.losses.distributed import global_batch
from mmfusion.losses.functional import mean_where
from mmfusion.losses.masked_columns import AUX
from mmfusion.losses.matching import hard_negatives
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.phases import Pretraining
from mmfusion.options import Range, TemperatureValue, Width
from mmfusion.pooling import first_token, masked_mean
from mmfusion.registry import pretrainings
from mmfusion.spec import Columns
from mmfusion.tokenizers import TipTableEncoder
from mmfusion.tokens import FusionOutput, Inputs, LossInputs, Present, Table, Tokens
from mmfusion.utils.precision import full_precision
from mmfusion.utils.process_group import gather_rows, n_processes, own_rows

PREDICTED = "columns.predicted"
MATCH = "match.logits"
COUNTED = "match.counted"


class TipLoss(nn.Module):
    """``(L_itc + L_itm + L_mtr) / 3`` (arXiv 2407.07582, section 2), from what :class:`TipPretraining` returns.

    Args:
        images: Names of the images.
        table: Name of the table.
        columns: Its columns.
        temperature: Of the contrast.
    """

    def __init__(self, images: Sequence[str], table: str, columns: Columns, *, temperature: float) -> None:
        super().__init__()
        self.columns = columns
        self.contrast = InfoNCELoss(pairs=[(image, table) for image in images], temperature=temperature)

    def forward(self, inputs: LossInputs) -> dict[str, Tensor]:
        """The three terms, weighted, to be summed.

        Args:
            inputs: Projections as embeddings; in ``aux`` the cells as they were, which were hidden and what is
                predicted of them, and the logits of the pairs with those that count, ``(b, 3)``. In training, of
                several processes each gives its own cases, and the terms are of all.
        """
        if self.training:
            inputs = global_batch(inputs)
        numerical, categorical, masked = (inputs.aux[name] for name in AUX)
        logits, counted = full_precision(inputs.aux[MATCH]).T.contiguous(), inputs.aux[COUNTED].T.contiguous()
        # The first row are matches, the others are not.
        wrong = torch.cat([F.softplus(-logits[:1]), F.softplus(logits[1:])])
        terms = {
            "contrast": self.contrast(inputs),
            "matching": mean_where(wrong, counted),
            "reconstruction": masked_columns_loss(
                inputs.aux[PREDICTED], Table(numerical, categorical), self.columns, masked
            ),
        }
        return {name: term / 3 for name, term in terms.items()}

    def check(self, inputs: LossInputs) -> None:
        """Look at the values.

        Raises:
            ValueError: If a projection or a prediction is not finite.
        """
        looked_at = {**inputs.embeddings, PREDICTED: inputs.aux[PREDICTED], MATCH: inputs.aux[MATCH]}
        if wrong := [name for name, x in looked_at.items() if not bool(x.isfinite().all())]:
            raise ValueError(f"{wrong} must be finite: look at the inputs and the learning rate")


@pretrainings.register("tip")
class TipPretraining(Pretraining):
    """A model's forward in TIP's pretraining, and the parts that only this needs.

    Contrast: the mean of an image's tokens and the table's [CLS], each through a projection of two layers, among
    those of all cases. Matching: does the [CLS] of a table after cross-attention to these images belong to them?
    Each case gives a match, a pair with another's table and one with another's images, drawn in proportion to
    ``exp(cos / tau)`` of the projections. Reconstruction: a share of the cells is masked, and predicted from the
    tokens in their place after cross-attention to the images.

    NOTE[DIFF] The projections have no batch normalization, so that a batch of any size is defined. NOTE[DIFF] Negatives
    are drawn without the public code's floor of 1e-4; several images are one side, their mean direction. NOTE[DIFF] A
    match has one logit, which is the difference of two.

    Args:
        model: Built for images and one table, with a :class:`~mmfusion.fusion.tokens.Query` among its layers.
        projection: Width of the projections.
        temperature: Of contrast and negatives; positive.
        mask_rate: Share of the columns that is hidden, at least one; above 0 and at most 1.

    Raises:
        ValueError: If an option is out of range, or the table's tokens are not its columns'.
    """

    model: FusionModel

    def __init__(
        self,
        model: FusionModel,
        *,
        projection: Width = 128,
        temperature: TemperatureValue = 0.1,
        mask_rate: Annotated[float, Range(0, 1, above=True)] = 0.3,
    ) -> None:
        ((table, columns),) = model.columns.items()
        images = tuple(model.images)
        encoder = model.tokenizers[table]
        if not isinstance(encoder, TipTableEncoder) or not encoder.separates_columns:
            part = getattr(encoder, "tokenizer", None) or encoder
            raise ValueError(
                "TIP's pretraining predicts a hidden cell from its own token, and the tabular tokenizer "
                f"{type(part).__name__} does not make one token per column: take one that does, such as 'feature', or "
                "pretrain=False"
            )
        dim = encoder.dim
        super().__init__(model, TipLoss(images, table, columns, temperature=temperature))
        self.images = images
        self.table = table
        self.columns = columns
        self.temperature = temperature
        self.n_hidden = max(1, round(mask_rate * len(columns)))
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, projection))
                for name in (*self.images, table)
            }
        )
        self.match = nn.Linear(dim, 1)
        self.number = nn.Linear(dim, 1) if columns.numerical else None
        self.category = nn.Linear(dim, sum(columns.cardinalities)) if columns.categorical else None
        # Of each category of each column, which column it is of. In the state dict: the meta device has no values.
        owners = [column for column, n in enumerate(columns.cardinalities) for _ in range(n)]
        self.column_of = nn.Buffer(torch.tensor(owners, dtype=torch.int64))

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """Projections as embeddings, the rest in ``aux``; no outputs.

        Args:
            inputs: As the model takes them.
            present: As the model takes it.
        """
        (joint,) = (layer for layer in self.model.layers if isinstance(layer, Query))
        tokens = self.model.tokenize(inputs, present)[-1]
        pooled = {
            name: masked_mean(of_name) if name in self.images else first_token(of_name)
            for name, of_name in tokens.items()
        }
        has = {name: of_name.real().any(1) for name, of_name in tokens.items()}
        projected = {
            name: torch.where(has[name].unsqueeze(-1), self.projections[name](x), 0.0) for name, x in pooled.items()
        }
        logits, counted = self._matches(joint, tokens, projected, has)
        table = _known(inputs.get(self.table), has[self.table], self.columns, like=pooled[self.table])
        predicted, masked = self._reconstruct(joint, tokens, table, has[self.table])
        aux = dict(zip(AUX, (*table, masked), strict=True))
        return FusionOutput({}, projected, aux | {PREDICTED: predicted, MATCH: logits, COUNTED: counted})

    def _matches(
        self, joint: Query, tokens: dict[str, Tokens], projected: dict[str, Tensor], has: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Logits of matches, pairs with another table, pairs with other images, and which count, ``(b, 3)`` each.

        In training the others are those of all processes.
        """
        self_index = torch.arange(len(has[self.table]), device=has[self.table].device)
        projected = {name: x.detach() for name, x in projected.items()}
        rows: slice | Tensor = slice(None)
        if self.training and n_processes() > 1:
            rows = self_index = own_rows(self_index)
            tokens = {name: Tokens(gather_rows(x.x), gather_rows(x.real())) for name, x in tokens.items()}
            projected = {name: gather_rows(x) for name, x in projected.items()}
            has = {name: gather_rows(x) for name, x in has.items()}
        image = torch.stack([unit(full_precision(projected[name])) for name in self.images]).sum(0)
        table = unit(full_precision(projected[self.table]))
        both = has[self.table] & torch.stack([has[name] for name in self.images]).any(0)
        eligible = both & both.unsqueeze(-1) & ~torch.eye(len(both), dtype=torch.bool, device=both.device)
        similarity = unit(image) @ table.T
        tables, has_negative = hard_negatives(similarity[rows], eligible[rows], temperature=self.temperature)
        images, _ = hard_negatives(similarity.T[rows], eligible[rows], temperature=self.temperature)
        chosen = {name: torch.cat([self_index, self_index, images]) for name in self.images}
        chosen[self.table] = torch.cat([self_index, tables, self_index])
        pairs = {
            name: Tokens(of_name.x[chosen[name]], None if of_name.mask is None else of_name.mask[chosen[name]])
            for name, of_name in tokens.items()
        }
        logits = self.match(joint.ask(pairs).x[:, 0]).view(3, -1)
        # Matches alone teach nothing: a case for which there is no negative is left out.
        return logits.T, has_negative.unsqueeze(1).expand(-1, 3)

    def _reconstruct(self, joint: Query, tokens: dict[str, Tokens], table: Table, has: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions for all cells, and which cells were hidden."""
        n_numerical = len(self.columns.numerical)
        draw = torch.rand(len(has), len(self.columns), device=has.device)
        hidden = draw.argsort(1).argsort(1) < self.n_hidden
        seen = Table(
            torch.where(hidden[:, :n_numerical], torch.nan, table.numerical),
            torch.where(hidden[:, n_numerical:], -1, table.categorical),
        )
        (encoded,) = self.model.tokenizers[self.table](seen)
        x = joint.ask(tokens | {self.table: Tokens(encoded.x, has.unsqueeze(1).expand(encoded.x.shape[:2]))}).x
        predictions = []
        if self.number is not None:
            predictions.append(self.number(x[:, 1 : 1 + n_numerical]).squeeze(-1))
        if self.category is not None:
            of_all = self.category(x[:, 1 + n_numerical :])  # of the categories of all columns, at each column
            predictions.append(of_all[:, self.column_of, torch.arange(of_all.shape[-1], device=of_all.device)])
        return torch.cat(predictions, 1), hidden & has.unsqueeze(1)


def _known(table: object, has: Tensor, columns: Columns, like: Tensor) -> Table:
    """The cells of the cases that have the table, all others missing."""
    if not isinstance(table, Table):  # left out of the inputs: no case has it
        rows = len(has)
        return Table(
            like.new_full((rows, len(columns.numerical)), torch.nan),
            torch.full((rows, len(columns.categorical)), -1, device=has.device),
        )
    numerical, categorical = table
    return Table(torch.where(has.unsqueeze(1), numerical, torch.nan), torch.where(has.unsqueeze(1), categorical, -1))
