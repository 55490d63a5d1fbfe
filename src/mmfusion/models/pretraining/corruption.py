"""Cells of a table replaced by what else stands in their columns."""

from typing import Any

import torch
from torch import Tensor, nn

from mmfusion.option_checks import checked
from mmfusion.options import Probability
from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import check_table
from mmfusion.tokens import Table

N_QUANTILES = 256


class Corruption(nn.Module):
    """Each cell is replaced with a probability, by a draw from its column's marginal (SCARF; Bahri et al., 2022).

    The marginals are those of the rows that :meth:`fit` saw: the share of missing cells and of each category, and
    256 quantiles of a number. They are in the state dict; rows are not. Without them a cell is drawn from the column's
    cells in the batch. Random numbers come from torch's global generators.

    Args:
        columns: The modality.
        rate: Probability of a cell.

    Attributes:
        has_rows: Whether :meth:`fit` was called, or the marginals came with a state dict.

    Raises:
        ValueError: If the rate is not 0 to 1.
    """

    needs_rows = True

    @checked
    def __init__(self, columns: Columns, *, rate: Probability = 0.3) -> None:
        super().__init__()
        self.columns = columns
        self.rate = rate
        self.has_rows = False
        most = max(columns.cardinalities, default=0)
        self.quantiles = nn.Buffer(torch.zeros(len(columns.numerical), N_QUANTILES))
        self.missing = nn.Buffer(torch.zeros(len(columns.numerical)))
        # By column, the share of missing cells and then, added up, that of each category but the last.
        self.shares = nn.Buffer(torch.zeros(len(columns.categorical), most))

    @torch.no_grad()
    def fit(self, table: Table, labels: Tensor | None = None) -> None:
        """Learn the marginals.

        Args:
            table: Training rows, on the CPU.
            labels: Not looked at.

        Raises:
            ValueError: If the table has other columns or no rows.
        """
        check_table(table, self.columns)
        if not len(table.numerical):
            raise ValueError("the marginals of a table need training rows, got none")
        self.missing.copy_(table.numerical.isnan().double().mean(0))
        at = (torch.arange(N_QUANTILES, dtype=torch.float64) + 0.5) / N_QUANTILES
        for column, values in enumerate(table.numerical.double().unbind(1)):
            known = values[~values.isnan()].sort().values
            if len(known):
                # Values that occur, not what lies between them: a score of two and a half would give itself away.
                self.quantiles[column] = known[(at * len(known)).long()].to(self.quantiles)
        self.shares.fill_(2)  # above every draw
        for column, (codes, k) in enumerate(zip(table.categorical.unbind(1), self.columns.cardinalities, strict=True)):
            share = torch.bincount(codes + 1, minlength=k + 1).double() / len(codes)
            self.shares[column, :k] = share.cumsum(0)[:-1].to(self.shares)
        self.has_rows = True

    def forward(self, table: Table, present: Tensor | None = None) -> Table:
        """Corrupt a batch; the one given is left as it was.

        Args:
            table: ``numerical (b, n_num)``, ``categorical (b, n_cat)``.
            present: Shape ``(b,)`` bool, True has the table; what the others hold reaches no case. None: all have it.

        Returns:
            The new table.
        """
        numerical, categorical = table
        drawn = self._from_marginals(table) if self.has_rows else _from_batch(table, present)
        return Table(
            torch.where(torch.rand_like(numerical) < self.rate, drawn.numerical, numerical),
            torch.where(
                torch.rand(categorical.shape, device=categorical.device) < self.rate, drawn.categorical, categorical
            ),
        )

    def _from_marginals(self, table: Table) -> Table:
        numerical, categorical = table
        at = torch.randint(N_QUANTILES, numerical.shape, device=numerical.device)
        values = self.quantiles.to(numerical).T.gather(0, at)
        values = torch.where(torch.rand_like(numerical) < self.missing, torch.nan, values)
        draw = torch.rand(*categorical.shape, 1, device=categorical.device)
        return Table(values, (draw >= self.shares).sum(-1) - 1)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args)
        buffers = [state_dict.get(f"{prefix}{name}") for name in ("quantiles", "missing", "shares")]
        self.has_rows = any(buffer.is_meta or bool(buffer.any()) for buffer in buffers if buffer is not None)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"rate={self.rate}, has_rows={self.has_rows}"


def _from_batch(table: Table, present: Tensor | None) -> Table:
    """Each cell that of a random case that has the table."""
    numerical, categorical = table
    n, device = len(numerical), numerical.device
    known = torch.ones(n, dtype=torch.bool, device=device) if present is None else present
    # Cases that have it first; how many they are stays on the device.
    order = (~known).to(torch.int8).argsort(stable=True)

    def rows(part: Tensor) -> Tensor:
        at = (torch.rand(part.shape, device=device) * known.sum()).long().clamp(max=n - 1)
        return part.gather(0, order[at])

    return Table(rows(numerical), rows(categorical))
