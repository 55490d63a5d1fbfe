import math

import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers.tabular.marginals import Marginals
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(("a", "b"), (("c", 2), ("d", 3), ("e", 1)))


def test_unfitted_marginals() -> None:
    m = Marginals(COLUMNS)
    assert m.mean.tolist() == [0, 0]
    torch.testing.assert_close(m.share, torch.tensor([1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3, 1]))


def test_means_and_shares_ignore_missing_cells() -> None:
    """A column without a value keeps its previous statistics."""
    m = Marginals(COLUMNS)
    m.fit(
        Table(torch.tensor([[1.0, NAN], [2.0, NAN], [NAN, NAN]]), torch.tensor([[1, -1, 0], [1, -1, 0], [0, -1, -1]]))
    )
    assert m.mean.tolist() == [1.5, 0]
    torch.testing.assert_close(m.share, torch.tensor([1 / 3, 2 / 3, 1 / 3, 1 / 3, 1 / 3, 1]))
    x = torch.arange(12.0).view(6, 2)
    expected = [(x[0] + 2 * x[1]) / 3, (x[2] + x[3] + x[4]) / 3, x[5]]
    torch.testing.assert_close(m.expected(x), torch.stack(expected))


def test_mean_of_many_rows_is_exact() -> None:
    """Summed in double precision."""
    m, n = Marginals(Columns(("a",))), 3_000_000
    m.fit(Table(torch.full((n, 1), 0.1), torch.zeros(n, 0, dtype=torch.int64)))
    assert math.isclose(m.mean.item(), torch.tensor(0.1).item(), rel_tol=1e-7)


def test_no_categorical_columns() -> None:
    m = Marginals(Columns(("a",)))
    m.fit(Table(torch.tensor([[4.0]]), torch.zeros(1, 0, dtype=torch.int64)))
    assert m.mean.tolist() == [4]
    assert m.expected(torch.zeros(0, 3)).shape == (0, 3)
