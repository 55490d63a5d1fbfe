"""Cells of a table as one token."""

import torch
from torch import nn

from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.base import check_table, one_hot
from mmfusion.tokens import Table, Tokens


class TableCells(nn.Module):
    """One token for the whole table: its cells as :class:`~mmfusion.tokenizers.TableMLP` takes them in, nothing learnt.

    Numerical cells, an indicator of each that is missing, and categorical ones one-hot. A missing number is 0 and a
    missing category all zeros. For blocks that read the table itself, such as map fusions.

    Args:
        columns: The modality.
    """

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns
        self.dim = 2 * len(columns.numerical) + sum(columns.cardinalities)

    def forward(self, table: Table) -> tuple[Tokens, ...]:
        """One set of a single token.

        Args:
            table: Numerical ``(b, n_num)``, NaN missing; categorical ``(b, n_cat)`` int64, -1 missing.

        Returns:
            One set of tokens, shape ``(b, 1, dim)``, in the dtype of the numerical cells.

        Raises:
            ValueError: If the table has other columns.
        """
        check_table(table, self.columns)
        numerical = table.numerical
        missing = numerical.isnan()
        categories = one_hot(table.categorical, self.columns, numerical.dtype)
        cells = [torch.where(missing, 0.0, numerical), missing.to(numerical.dtype), categories]
        return (Tokens(torch.cat(cells, 1).unsqueeze(1)),)
