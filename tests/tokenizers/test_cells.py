import pytest
import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers import TableCells, TableMLP
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(numerical=("age", "size"), categorical=(("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0]]), torch.tensor([[0, 2], [1, -1]]))


def test_what_it_gives() -> None:
    """Numbers, which of them are missing, one-hot categories; nothing is learnt."""
    cells = TableCells(COLUMNS)
    (tokens,) = cells(TABLE)
    assert tokens.mask is None
    assert tokens.x.tolist() == [[[2, 0, 0, 1, 1, 0, 0, 0, 1]], [[0.5, -1, 0, 0, 0, 1, 0, 0, 0]]]
    assert cells.dim == 9
    assert list(cells.state_dict()) == []


def test_it_is_what_the_mlp_takes_in() -> None:
    mlp = TableMLP(COLUMNS, dim=4)
    (cells,), (token,) = TableCells(COLUMNS)(TABLE), mlp(TABLE)
    assert torch.equal(mlp.layers(cells.x), token.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_numbers_own_precision(dtype: torch.dtype) -> None:
    (tokens,) = TableCells(COLUMNS)(Table(TABLE.numerical.to(dtype), TABLE.categorical))
    assert tokens.x.dtype == dtype


@pytest.mark.parametrize("columns", [Columns(("x",)), Columns(categorical=(("y", 3),))])
def test_one_kind_of_column(columns: Columns) -> None:
    table = Table(torch.zeros(2, len(columns.numerical)), torch.zeros(2, len(columns.categorical)).long())
    (tokens,) = TableCells(columns)(table)
    assert tokens.x.shape == (2, 1, TableCells(columns).dim)


def test_refuses_another_table() -> None:
    with pytest.raises(ValueError, match=r"numerical cells must be floating point of shape \(b, 2\)"):
        TableCells(COLUMNS)(Table(torch.zeros(2, 1), TABLE.categorical))
