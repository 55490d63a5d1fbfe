import pytest
import torch
from torch import Tensor

from helpers.small import TABLE
from mmfusion.models.pretraining.corruption import Corruption
from mmfusion.spec import Columns
from mmfusion.tokens import Table

N = 40_000


def rows() -> Table:
    """Four numbers in the first column, one of them twice; the second is half missing; two of four categories."""
    nan = float("nan")
    return Table(
        torch.tensor([[1.0, nan], [2.0, 5.0], [2.0, nan], [7.0, 5.0]]),
        torch.tensor([[0, 3], [1, 3], [0, 0], [-1, 3]]),
    )


def batch(n: int = N) -> Table:
    return Table(torch.full((n, 2), 100.0), torch.full((n, 2), 1))


def shares(values: Tensor) -> dict[float, float]:
    """A NaN is missing: -1."""
    found, counts = values.nan_to_num(-1.0).unique(return_counts=True)
    return dict(zip(found.tolist(), (counts / len(values)).tolist(), strict=True))


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_share_of_corrupted_cells_matches_rate(rate: float) -> None:
    corruption = Corruption(TABLE, rate=rate)
    corruption.fit(Table(torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.int64)))
    numerical, categorical = corruption(batch())
    changed = torch.cat([numerical != 100, categorical != 1], 1).float().mean(0)
    assert changed.tolist() == pytest.approx([rate] * 4, abs=0.02)
    if rate == 0.3:  # each cell by itself
        both = ((numerical[:, 0] != 100) & (categorical[:, 1] != 1)).float().mean()
        assert both.item() == pytest.approx(0.09, abs=0.01)


def test_draws_follow_the_marginals() -> None:
    corruption = Corruption(TABLE, rate=1.0)
    corruption.fit(rows())
    numerical, categorical = corruption(batch())
    assert shares(numerical[:, 0]) == pytest.approx({1.0: 0.25, 2.0: 0.5, 7.0: 0.25}, abs=0.02)
    assert shares(numerical[:, 1]) == pytest.approx({-1.0: 0.5, 5.0: 0.5}, abs=0.02)
    assert shares(categorical[:, 0]) == pytest.approx({-1: 0.25, 0: 0.5, 1: 0.25}, abs=0.02)
    assert shares(categorical[:, 1]) == pytest.approx({0: 0.25, 3: 0.75}, abs=0.02)


def test_without_rows_draws_from_batch() -> None:
    """Only from the cases that have the table."""
    corruption = Corruption(TABLE, rate=1.0)
    few = rows()
    many = Table(few.numerical.repeat(N // 4, 1), few.categorical.repeat(N // 4, 1))
    present = torch.tensor([True, False, True, True]).repeat(N // 4)
    numerical, categorical = corruption(many, present)
    assert shares(numerical[:, 0]) == pytest.approx({1.0: 1 / 3, 2.0: 1 / 3, 7.0: 1 / 3}, abs=0.02)
    assert shares(categorical[:, 1]) == pytest.approx({0: 1 / 3, 3: 2 / 3}, abs=0.02)
    nobody = torch.zeros(N, dtype=torch.bool)
    assert corruption(many, nobody).numerical.shape == (N, 2)


def test_column_of_missing_cells_stays_missing() -> None:
    corruption = Corruption(TABLE, rate=1.0)
    corruption.fit(Table(torch.full((2, 2), float("nan")), torch.full((2, 2), -1)))
    numerical, categorical = corruption(batch(5))
    assert bool(numerical.isnan().all())
    assert bool((categorical == -1).all())


def test_state_dict_has_marginals_without_rows() -> None:
    corruption = Corruption(TABLE, rate=1.0)
    assert not corruption.has_rows
    unfitted = Corruption(TABLE, rate=1.0)
    unfitted.load_state_dict(corruption.state_dict())
    assert not unfitted.has_rows
    corruption.fit(rows())
    other = Corruption(TABLE, rate=1.0)
    other.load_state_dict(corruption.state_dict())
    assert other.has_rows
    torch.manual_seed(3)
    one = corruption(batch(50))
    torch.manual_seed(3)
    again = other(batch(50))
    assert torch.equal(one.numerical.nan_to_num(-1), again.numerical.nan_to_num(-1))
    assert torch.equal(one.categorical, again.categorical)
    assert {name: tuple(x.shape) for name, x in corruption.state_dict().items()} == {
        "quantiles": (2, 256),
        "missing": (2,),
        "shares": (2, 4),
    }


def test_one_kind_of_columns() -> None:
    for columns in (Columns(("a",)), Columns(categorical=(("b", 3),))):
        n_numerical, n_categorical = len(columns.numerical), len(columns.categorical)
        table = Table(torch.rand(6, n_numerical), torch.randint(0, 3, (6, n_categorical)))
        corruption = Corruption(columns, rate=0.5)
        assert [x.shape for x in corruption(table)] == [x.shape for x in table]
        corruption.fit(table)
        numerical, categorical = corruption(table)
        assert bool(torch.isin(numerical, table.numerical).all())
        assert bool(torch.isin(categorical, table.categorical).all())


@pytest.mark.parametrize(
    ("rate", "table", "message"),
    [
        (1.1, None, "Corruption: rate expects float from 0 to 1, got 1.1"),
        (0.5, Table(torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.int64)), "need training rows, got none"),
        (0.5, Table(torch.zeros(3, 1), torch.zeros(3, 2, dtype=torch.int64)), r"numerical cells .* of shape \(b, 2\)"),
    ],
)
def test_invalid_rate_or_table_raises(rate: float, table: Table | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Corruption(TABLE, rate=rate).fit(table or rows())
