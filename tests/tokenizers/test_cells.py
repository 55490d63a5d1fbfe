import pytest
import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers import TableCells, TableMLP
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(numerical=("age", "size"), categorical=(("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0]]), torch.tensor([[0, 2], [1, -1]]))


def test_table_cells_by_hand() -> None:
    """Numbers, which of them are missing, one-hot categories; nothing is learned."""
    cells = TableCells(COLUMNS)
    (tokens,) = cells(TABLE)
    assert tokens.mask is None
    assert tokens.x.tolist() == [[[2, 0, 0, 1, 1, 0, 0, 0, 1]], [[0.5, -1, 0, 0, 0, 1, 0, 0, 0]]]
    assert cells.dim == 9
    assert list(cells.state_dict()) == []


def test_table_cells_match_mlp_input() -> None:
    mlp = TableMLP(COLUMNS, dim=4)
    (cells,), (token,) = TableCells(COLUMNS)(TABLE), mlp(TABLE)
    assert torch.equal(mlp.layers(cells.x), token.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_table_cells_keep_dtype(dtype: torch.dtype) -> None:
    (tokens,) = TableCells(COLUMNS)(Table(TABLE.numerical.to(dtype), TABLE.categorical))
    assert tokens.x.dtype == dtype


@pytest.mark.parametrize("columns", [Columns(("x",)), Columns(categorical=(("y", 3),))])
def test_one_kind_of_columns(columns: Columns) -> None:
    table = Table(torch.zeros(2, len(columns.numerical)), torch.zeros(2, len(columns.categorical)).long())
    (tokens,) = TableCells(columns)(table)
    assert tokens.x.shape == (2, 1, TableCells(columns).dim)


def test_mismatched_table_raises() -> None:
    with pytest.raises(ValueError, match=r"numerical cells must be floating point of shape \(b, 2\)"):
        TableCells(COLUMNS)(Table(torch.zeros(2, 1), TABLE.categorical))
