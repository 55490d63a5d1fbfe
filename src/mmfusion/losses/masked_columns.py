"""Reconstruction of masked table cells."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfusion.losses.base import Loss
from mmfusion.losses.batch import Batch
from mmfusion.losses.functional import mean_where
from mmfusion.losses.inputs import units_of
from mmfusion.losses.linear_layers import Layers, check_width
from mmfusion.options import Width
from mmfusion.registry import losses
from mmfusion.spec import Columns
from mmfusion.tokens import Table
from mmfusion.utils.precision import full_precision, without_autocast
from mmfusion.utils.tensor_checks import require

AUX = ("columns.numerical", "columns.categorical", "columns.masked")
"""Where a batch keeps the table as it was and what of it was hidden."""


def masked_columns_loss(predicted: Tensor, table: Table, columns: Columns, masked: Tensor) -> Tensor:
    """How well hidden cells are reconstructed: squared error of numbers, cross-entropy of categories.

    Masked tabular reconstruction (TIP, Du et al. 2024, arXiv 2407.07582, L_mtr): the mean over the hidden numerical
    cells of the batch, the mean over the hidden categorical ones, and the mean of both.

    NOTE[DIFF] A kind without a hidden cell in the batch is left out; the public code divides by zero there.
    NOTE[DIFF] The categories of a column compete with each other alone, and their shares are computed in log space; in
    the public code all categories of all columns share one softmax, with 1e-8 inside the logarithm.

    A numerical truth should be standardized, as :class:`~mmfusion.data.schema.table_schema.TableSchema` does: an error
    beyond 1e19 overflows when it is squared in float32.

    Args:
        predicted: Shape ``(b, n_num + sum of cardinalities)``: values of the numerical columns, then the logits of each
            categorical column in turn.
        table: The cells as they were. One that is missing, NaN or -1, is no target; nor is an infinite number, or a
            category out of range.
        columns: The modality.
        masked: Shape ``(b, n_num + n_cat)``, bool; True is hidden, to be reconstructed. What is predicted for the
            others may be anything.

    Returns:
        A scalar, not negative; 0 if nothing was hidden.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    rows, n_numerical, sizes = len(predicted), len(columns.numerical), columns.cardinalities
    require("predicted", predicted, "floating point", rows, n_numerical + sum(sizes))
    require("numerical cells", table.numerical, "floating point", rows, n_numerical)
    require("categorical cells", table.categorical, torch.int64, rows, len(sizes))
    require("masked", masked, torch.bool, rows, len(columns))
    predicted = full_precision(predicted)
    values, logits = torch.split(predicted, [n_numerical, sum(sizes)], 1)
    hidden_values, hidden_categories = torch.split(masked, [n_numerical, len(sizes)], 1)
    with without_autocast(predicted):
        kinds = [
            _squared_errors(values, table.numerical, hidden_values),
            _cross_entropies(logits, table.categorical, hidden_categories, sizes),
        ]
        means = torch.stack([mean_where(errors, counted) for errors, counted in kinds])
        return mean_where(means, torch.stack([counted.any() for _, counted in kinds]))


def _squared_errors(values: Tensor, truth: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The squared error of each cell and which cells are targets, both ``(b, n_num)``."""
    truth = truth.to(values.dtype)
    target = hidden & truth.isfinite()
    # Replaced before the square: 0 times NaN is NaN, in the gradient too.
    return torch.where(target, values - truth, 0.0).square(), target


def _cross_entropies(logits: Tensor, truth: Tensor, hidden: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The negative log share of each cell's category and which cells are targets, both ``(b, n_cat)``."""
    if not sizes:
        return logits, hidden  # both empty
    widest = max(sizes)
    # All columns side by side; what a column has too few categories for gets no share.
    padded = torch.stack(
        [
            F.pad(part, (0, widest - n), value=-torch.inf)
            for part, n in zip(torch.split(logits, list(sizes), 1), sizes, strict=True)
        ],
        1,
    )
    in_range = [(cell >= 0) & (cell < n) for cell, n in zip(truth.unbind(1), sizes, strict=True)]
    target = hidden & torch.stack(in_range, 1)
    padded = torch.where(target.unsqueeze(-1), padded, 0.0)
    category = torch.where(target, truth, 0).unsqueeze(-1)
    return -padded.log_softmax(-1).gather(-1, category).squeeze(-1), target


@losses.register("masked_columns")
class MaskedColumnsLoss(Loss):
    """The hidden cells of the table, reconstructed from an embedding; see :func:`masked_columns_loss`.

    What was in the table and what was hidden comes in ``aux``: ``"columns.numerical"``, ``(b, n_num)`` float,
    ``"columns.categorical"``, ``(b, n_cat)`` int64, both as in :class:`~mmfusion.tokens.Table` and before anything was
    hidden, and ``"columns.masked"``, ``(b, n_num + n_cat)`` bool, True for a cell that the model did not see.

    NOTE[DIFF] TIP (arXiv 2407.07582) reads each column from its own token of an encoder of both modalities; here a
    decoder reads all of them from one embedding, its direction times ``sqrt(dim)``, whose entries are of size 1.

    Args:
        columns: The table modality.
        dim: Width of the embeddings.
        on: The embedding that the decoder reads; a case that lacks it is left out. None: the mean of the directions of
            all modalities that a case has.
        hidden: Width of the decoder's hidden layer; None: it is linear.

    Raises:
        ValueError: If a width is not positive.
    """

    def __init__(self, *, columns: Columns, dim: Width, on: str | None = None, hidden: Width | None = None) -> None:
        super().__init__()
        self.columns = columns
        self.dim = dim
        self.on = on
        self.decoder = Layers(dim, len(columns.numerical) + sum(columns.cardinalities), hidden=hidden)

    def compute(self, batch: Batch) -> Tensor:
        """The loss of embeddings and of the table in ``aux``."""
        if missing := [name for name in AUX if name not in batch.aux]:
            raise ValueError(
                f"aux lacks {missing}: give the table before cells were hidden, {AUX[0]!r} (b, n_num) float and "
                f"{AUX[1]!r} (b, n_cat) int64, and {AUX[2]!r} (b, n_num + n_cat) bool, True for a hidden cell. "
                "In a run, a dataset of one table and train.augment.table.mask=0.3 give them"
            )
        if self.on is None:
            x, present = batch.units
        elif self.on in batch.embeddings:
            x, present = units_of({self.on: batch.embeddings[self.on]}, batch.present)
        else:
            raise ValueError(
                f"unknown embeddings {self.on!r}, expected one of {list(batch.embeddings)}: fix the loss's on"
            )
        check_width(x, self.dim)
        numerical, categorical, masked = (batch.aux[name] for name in AUX)
        require(AUX[2], masked, torch.bool, x.shape[1], len(self.columns))
        with without_autocast(x):
            mean = x.sum(0) / present.sum(0).clamp(min=1).unsqueeze(-1)
            predicted = self.decoder(self.dim**0.5 * mean)
        seen = present.any(0).unsqueeze(-1)
        return masked_columns_loss(predicted, Table(numerical, categorical), self.columns, masked & seen)
