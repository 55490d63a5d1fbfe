"""Augmentation of tables: cells masked, or replaced by values of other cases.

Corruption from the column's training marginal is SCARF's (Bahri et al., ICLR 2022, arXiv 2106.15147, algorithm 1).
Cells from another case of the batch are CutMix on tables, as in SAINT (Somepalli et al., 2021, arXiv 2106.01342).
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmfusion.data.cases import CaseDataset, without_images
from mmfusion.data.transforms.random_streams import Streams
from mmfusion.option_checks import check_fields
from mmfusion.options import Probability
from mmfusion.tokens import Table

MOST_ROWS = 10_000
"""Most training rows that are kept to draw from."""


@dataclass(frozen=True)
class TableAugment:
    """Random changes of a table's cells; with all settings 0 nothing is changed.

    NOTE[DIFF] SCARF corrupts the same number of columns in every case, chosen at random; here each cell is drawn
    independently, so that all three settings are probabilities.

    Attributes:
        corrupt: Probability that a cell is replaced by that of a random training row, from 0 to 1; missing cells occur
            as often as in the column. The row is drawn for each cell.
        mask: Probability that a cell becomes missing.
        cutmix: Probability that a cell is replaced by that of another case of the batch, the same for all cells of a
            case.
        rows: The training rows from which ``corrupt`` draws; see :meth:`fit`.
    """

    corrupt: Probability = 0.0
    mask: Probability = 0.0
    cutmix: Probability = 0.0
    rows: Table | None = field(init=False, default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def idle(self) -> bool:
        """True if nothing is changed."""
        return not (self.corrupt or self.mask or self.cutmix)

    def fit(self, table: Table) -> "TableAugment":
        """Set the rows to draw from.

        Args:
            table: Training rows in which the table is present, see :func:`training_rows`.

        Returns:
            A copy with these rows.

        Raises:
            ValueError: If there are no rows.
        """
        if not len(table.numerical):
            raise ValueError("corruption of a table needs training rows to draw from, got none")
        fitted = copy.copy(self)
        object.__setattr__(fitted, "rows", Table(table.numerical.cpu(), table.categorical.cpu()))
        return fitted

    def __call__(self, table: Table, generator: torch.Generator, present: Tensor | None = None) -> tuple[Table, Tensor]:
        """A changed copy of a batch.

        Of several changes to one cell, masking wins over corruption, and corruption over mixing.

        Args:
            table: ``numerical (b, n_num)``, ``categorical (b, n_cat)``.
            generator: On the CPU, whatever the batch's device.
            present: Shape ``(b,)``, bool; True is present. Cells of absent tables are not mixed into other cases and do
                not count as changed. None: all are present.

        Returns:
            The new table, and ``(b, n_num + n_cat)`` bool: True for a cell that was masked or replaced, even by an
            equal value.

        Raises:
            ValueError: If ``corrupt`` is above 0 and the rows to draw from are missing or have another width.
        """
        n, n_numerical, n_categorical = len(table.numerical), table.numerical.shape[1], table.categorical.shape[1]
        width, device = n_numerical + n_categorical, table.numerical.device
        streams = Streams(generator)
        numerical, categorical = table
        changed = torch.zeros(n, width, dtype=torch.bool, device=device)
        available = torch.ones(n, dtype=torch.bool, device=device) if present is None else present.to(device)

        def chosen(name: str, probability: float) -> Tensor:
            drawn = torch.rand(n, width, generator=streams.of(name)) < probability
            return drawn.to(device) & available.unsqueeze(1)

        if self.cutmix > 0 and n > 1:
            other = torch.arange(n) + torch.randint(1, n, (n,), generator=streams.of("cutmix", "other"))
            other = other.remainder(n).to(device)
            cells = chosen("cutmix", self.cutmix) & available[other].unsqueeze(1)
            numerical = torch.where(cells[:, :n_numerical], table.numerical[other], numerical)
            categorical = torch.where(cells[:, n_numerical:], table.categorical[other], categorical)
            changed |= cells
        if self.corrupt > 0:
            drawn = self._drawn(n, (n_numerical, n_categorical), streams.of("corrupt", "row"))
            cells = chosen("corrupt", self.corrupt)
            numerical = torch.where(cells[:, :n_numerical], drawn.numerical.to(numerical), numerical)
            categorical = torch.where(cells[:, n_numerical:], drawn.categorical.to(device), categorical)
            changed |= cells
        if self.mask > 0:
            cells = chosen("mask", self.mask)
            numerical = torch.where(cells[:, :n_numerical], torch.nan, numerical)
            categorical = torch.where(cells[:, n_numerical:], -1, categorical)
            changed |= cells
        return Table(numerical, categorical), changed

    def _drawn(self, n: int, widths: tuple[int, int], generator: torch.Generator) -> Table:
        """Cells of random training rows, one row drawn per cell, on the CPU."""
        if self.rows is None:
            raise ValueError("corruption of a table draws from training rows: call fit first")
        kept = self.rows.numerical.shape[1], self.rows.categorical.shape[1]
        if kept != widths:
            raise ValueError(
                f"the rows to draw from have {kept} numerical and categorical columns, the batch has {widths}"
            )
        row = torch.randint(len(self.rows.numerical), (n, sum(widths)), generator=generator)
        numbers, codes = torch.split(row, list(widths), dim=1)
        return Table(self.rows.numerical.gather(0, numbers), self.rows.categorical.gather(0, codes))


def training_rows(
    dataset: CaseDataset, name: str, generator: torch.Generator, *, most: int = MOST_ROWS, batch_size: int = 256
) -> Table:
    """Rows of a table modality, of cases in which it is present; images are not read if the dataset allows it.

    Args:
        dataset: The training set.
        name: The table modality.
        generator: On the CPU; chooses among more than ``most`` cases.
        most: Largest number of cases that are read.
        batch_size: Number of cases that are read at a time.

    Returns:
        At most ``most`` rows, in the order of the cases.
    """
    cases = without_images(dataset, dataset.spec.images)
    chosen = torch.randperm(len(cases), generator=generator)[:most].sort().values
    parts = []
    for start in range(0, len(chosen), batch_size):
        batch = cases.__getitems__(chosen[start : start + batch_size].tolist())
        table, present = batch.inputs[name], batch.present[name]
        if not isinstance(table, Table):
            raise ValueError(f"{name!r} is not a table modality; available: {list(dataset.spec.tables)}")
        parts.append(Table(table.numerical[present], table.categorical[present]))
    return Table(torch.cat([part.numerical for part in parts]), torch.cat([part.categorical for part in parts]))
