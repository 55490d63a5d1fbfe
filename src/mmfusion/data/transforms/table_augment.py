"""Cells that are hidden, or replaced by other cases' values: for contrastive and masked training, and against reliance.

Corruption from the column's training marginal is SCARF's (Bahri et al., ICLR 2022, arXiv 2106.15147, algorithm 1).
Cells from another case of the batch are CutMix on tables, as in SAINT (Somepalli et al., 2021, arXiv 2106.01342).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from mmfusion.data.cases import CaseDataset
from mmfusion.data.transforms.random_streams import Streams
from mmfusion.tokens import Table

MOST_ROWS = 10_000
"""Training rows that are kept to draw from, at most."""


@dataclass(frozen=True)
class TableAugment:
    """Changes cells of a batch of tables at random; all at 0: nothing.

    NOTE[DIFF] SCARF corrupts the same number of columns of every case, chosen at random; here each cell is drawn by
    itself, so that a share is a probability in all three settings.

    Attributes:
        corrupt: Probability of a cell to become that of a random training row, from 0 to 1: a number or a category as
            they occur in the column, missing as often as it is missing there. Each cell has a row of its own.
        mask: Probability of a cell to become missing.
        cutmix: Probability of a cell to become that of another case of the batch, the same other for a case's cells.
        rows: The training rows that ``corrupt`` draws from; see :meth:`fit`.
    """

    corrupt: float = 0.0
    mask: float = 0.0
    cutmix: float = 0.0
    rows: Table | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        wrong = {}
        for name in ("corrupt", "mask", "cutmix"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                wrong[name] = value
        if wrong:
            raise ValueError(f"augmentation of tables expects probabilities from 0 to 1, got {wrong}")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "TableAugment":
        """From a recipe's section.

        Raises:
            ValueError: If a setting is unknown, or out of its range.
        """
        valid = [setting.name for setting in fields(cls) if setting.name != "rows"]
        if not isinstance(settings, Mapping):
            raise ValueError(f"augmentation of tables expects settings such as table.mask=0.1, got {settings!r}")
        if unknown := sorted(set(settings) - set(valid)):
            raise ValueError(
                f"unknown augmentation of tables {', '.join(map(repr, unknown))}; valid: {', '.join(valid)}"
            )
        return cls(**settings)

    @property
    def idle(self) -> bool:
        """True if nothing would be changed."""
        return not (self.corrupt or self.mask or self.cutmix)

    def fit(self, table: Table) -> "TableAugment":
        """Keep the rows to draw from.

        Args:
            table: Training rows, those that have the table at all; :func:`training_rows` gives them.

        Returns:
            The same settings with rows.

        Raises:
            ValueError: If there are no rows.
        """
        if not len(table.numerical):
            raise ValueError("corruption of a table needs training rows to draw from, got none")
        return replace(self, rows=Table(table.numerical.cpu(), table.categorical.cpu()))

    def __call__(self, table: Table, generator: torch.Generator, present: Tensor | None = None) -> tuple[Table, Tensor]:
        """Change a batch; the one given is left as it was.

        A cell that is drawn for several is hidden before it is corrupted, and corrupted before it is mixed.

        Args:
            table: ``numerical (b, n_num)``, ``categorical (b, n_cat)``.
            generator: On the CPU, whatever the batch's device.
            present: Shape ``(b,)``, bool; True has the table. What the others hold reaches no case, and nothing of
                theirs counts as changed. None: all have it.

        Returns:
            The new table, and ``(b, n_num + n_cat)`` bool: True for a cell that was drawn to be hidden or replaced,
            even if what replaced it happens to be the same.

        Raises:
            ValueError: If ``corrupt`` is above 0 and no rows were kept, or rows of another width.
        """
        n, n_numerical, n_categorical = len(table.numerical), table.numerical.shape[1], table.categorical.shape[1]
        width, device = n_numerical + n_categorical, table.numerical.device
        streams = Streams(generator)
        numerical, categorical = table
        changed = torch.zeros(n, width, dtype=torch.bool, device=device)
        there = torch.ones(n, dtype=torch.bool, device=device) if present is None else present.to(device)

        def chosen(name: str, probability: float) -> Tensor:
            drawn = torch.rand(n, width, generator=streams.of(name)) < probability
            return drawn.to(device) & there.unsqueeze(1)

        if self.cutmix > 0 and n > 1:
            other = torch.arange(n) + torch.randint(1, n, (n,), generator=streams.of("cutmix", "other"))
            other = other.remainder(n).to(device)
            cells = chosen("cutmix", self.cutmix) & there[other].unsqueeze(1)
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
        """Cells of random training rows, a row for each, on the CPU."""
        if self.rows is None:
            raise ValueError("corruption of a table draws from training rows: call fit first")
        had = self.rows.numerical.shape[1], self.rows.categorical.shape[1]
        if had != widths:
            raise ValueError(f"the kept rows have {had} numerical and categorical columns, the batch has {widths}")
        row = torch.randint(len(self.rows.numerical), (n, sum(widths)), generator=generator)
        numbers, codes = torch.split(row, list(widths), dim=1)
        return Table(self.rows.numerical.gather(0, numbers), self.rows.categorical.gather(0, codes))


def training_rows(
    dataset: CaseDataset, name: str, generator: torch.Generator, *, most: int = MOST_ROWS, batch_size: int = 256
) -> Table:
    """A table modality's rows of the cases that have it, without reading images where the dataset can do without.

    Args:
        dataset: The training part.
        name: The table modality.
        generator: On the CPU; chooses among more than ``most`` cases.
        most: Rows that are read.
        batch_size: Cases that are read at a time.

    Returns:
        At most ``most`` rows, in the order of the cases.
    """
    without = getattr(dataset, "without", None)
    cases: CaseDataset = dataset if without is None else without(dataset.spec.images)
    chosen = torch.randperm(len(cases), generator=generator)[:most].sort().values
    parts = []
    for start in range(0, len(chosen), batch_size):
        batch = cases.__getitems__(chosen[start : start + batch_size].tolist())
        table, there = batch.inputs[name], batch.present[name]
        if not isinstance(table, Table):
            raise ValueError(f"{name!r} is not a table modality; there are: {list(dataset.spec.tables)}")
        parts.append(Table(table.numerical[there], table.categorical[there]))
    return Table(torch.cat([part.numerical for part in parts]), torch.cat([part.categorical for part in parts]))
