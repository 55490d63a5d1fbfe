"""Expected values of columns, for imputation."""

import torch
from torch import Tensor, nn

from mmfusion.spec import Columns
from mmfusion.tokens import Table


class Marginals(nn.Module):
    """Means of numbers and shares of categories; before :meth:`fit`, 0 and equal shares. In the state dict.

    Args:
        columns: The modality.
    """

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        sizes = torch.tensor(columns.cardinalities, dtype=torch.int64)
        column = torch.tensor([j for j, n in enumerate(columns.cardinalities) for _ in range(n)], dtype=torch.int64)
        self.mean = nn.Buffer(torch.zeros(len(columns.numerical)))
        # All categories of all columns stand in one row, so that one product serves every column.
        self.share = nn.Buffer(1 / sizes[column].to(torch.get_default_dtype()))
        self.column = nn.Buffer(column)
        self.first_row = nn.Buffer(sizes.cumsum(0) - sizes)

    @torch.no_grad()
    def fit(self, table: Table) -> None:
        """Learn from training rows; a column without a value in any of them stays as it is.

        Args:
            table: Any number of rows.
        """
        numerical, categorical = table.numerical.double(), table.categorical
        mean = numerical.nanmean(0)
        self.mean.copy_(torch.where(mean.isnan(), self.mean.to(mean), mean))
        rows = (categorical + self.first_row.to(categorical.device))[categorical >= 0]
        counts = torch.bincount(rows, minlength=len(self.share)).double().to(self.share.device)
        total = self.in_columns(counts.unsqueeze(1))[self.column, 0]
        self.share.copy_(torch.where(total > 0, counts / total, self.share.double()))

    def expected(self, of_categories: Tensor) -> Tensor:
        """The mean of what each category of a column is given, weighted by their shares.

        Args:
            of_categories: Shape ``(n, d)``, all categories of all columns.

        Returns:
            Shape ``(n_cat, d)``.
        """
        return self.in_columns(self.share.to(of_categories.dtype).unsqueeze(1) * of_categories)

    def in_columns(self, of_categories: Tensor) -> Tensor:
        """The sum over the categories of each column, ``(n, d)`` to ``(n_cat, d)``."""
        sums = of_categories.new_zeros(len(self.first_row), of_categories.shape[1])
        return sums.index_add(0, self.column, of_categories)
