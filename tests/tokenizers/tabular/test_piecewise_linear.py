import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.spec import Columns
from mmfusion.tokenizers import PiecewiseLinearTokenizer
from mmfusion.tokenizers.tabular.piecewise_linear import piecewise_linear
from mmfusion.tokens import Table
from mmfusion.utils.precision import from_bits

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2),))


def encoding(x: float, edges: list[float]) -> list[float]:
    """The paper's equation 1, for edges that all differ."""
    n = len(edges) - 1
    found = []
    for t in range(1, n + 1):
        low, high = edges[t - 1], edges[t]
        if x < low and t > 1:
            found.append(0.0)
        elif x >= high and t < n:
            found.append(1.0)
        else:
            found.append((x - low) / (high - low))
    return found


@given(
    st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True).map(sorted),
    st.lists(st.floats(-100, 100), min_size=1, max_size=5),
    st.data(),
)
def test_encoding_matches_definition(edges: list[int], values: list[float], data: st.DataObject) -> None:
    """Repeated edges give the encoding without them, with zeros between."""
    times = data.draw(st.lists(st.integers(1, 3), min_size=len(edges), max_size=len(edges)))
    repeated = [float(edge) for edge, n in zip(edges, times, strict=True) for _ in range(n)]
    found = piecewise_linear(
        torch.tensor(values, dtype=torch.float64).unsqueeze(1), torch.tensor([repeated], dtype=torch.float64)
    )
    real = [low < high for low, high in itertools.pairwise(repeated)]
    for x, row in zip(values, found[:, 0].tolist(), strict=True):
        assert [e for e, there in zip(row, real, strict=True) if there] == pytest.approx(encoding(x, edges), abs=1e-12)
        assert not any(e for e, there in zip(row, real, strict=True) if not there)


def test_tokens_by_hand() -> None:
    t = PiecewiseLinearTokenizer(COLUMNS, dim=3, n_bins=4).double()
    rows = Table(torch.tensor([[0.0, 1.0], [1.0, NAN], [2.0, 1.0], [3.0, 4.0], [4.0, 9.0]]), torch.zeros(5, 1).long())
    t.fit(rows)
    edges = [[0.0, 1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.5, 5.25, 9.0]]
    assert from_bits(t.edges).tolist() == edges
    (tokens,) = t(Table(torch.tensor([[2.5, 3.0]], dtype=torch.float64), torch.tensor([[1]])))
    codes = [[1.0, 1.0, 0.5, 0.0], [0.0, 1.0, 0.5 / 2.75, 0.0]]
    for j, code in enumerate(codes):
        expected = torch.tensor(code, dtype=torch.float64) @ t.weight[j] + t.bias[j]
        torch.testing.assert_close(tokens.x[0, j], expected.relu())
    torch.testing.assert_close(tokens.x[:, 2], t.embedding[[1]] + t.bias[2])


def test_edges_match_numpy_quantiles() -> None:
    """A column without any value keeps those of a normal distribution."""
    t = PiecewiseLinearTokenizer(COLUMNS, dim=3, n_bins=10)
    before = from_bits(t.edges).clone()
    np.testing.assert_allclose(before[0, [0, 5, 10]], [-3.0902, 0, 3.0902], atol=1e-4)
    values = torch.randn(1001, 2).exp()
    values[::3, 0] = NAN
    values[:, 1] = NAN
    t.fit(Table(values, torch.zeros(1001, 1).long()))
    there = values[:, 0][~values[:, 0].isnan()].double().numpy()
    np.testing.assert_allclose(from_bits(t.edges)[0], np.quantile(there, np.linspace(0, 1, 11)), rtol=1e-6)
    assert torch.equal(from_bits(t.edges)[1], before[1])


def test_constant_column_gives_bias() -> None:
    """Nothing to tell apart: the bias is left."""
    t = PiecewiseLinearTokenizer(Columns(("age",)), dim=3, n_bins=4)
    t.fit(Table(torch.full((9, 1), 2.0), torch.zeros(9, 0, dtype=torch.int64)))
    (tokens,) = t(Table(torch.tensor([[2.0], [7.0]]), torch.zeros(2, 0, dtype=torch.int64)))
    torch.testing.assert_close(tokens.x[:, 0], t.bias.relu().expand(2, -1))


def test_invalid_n_bins_raises() -> None:
    with pytest.raises(ValueError, match="n_bins expects int from 1 to 4096, got 0"):
        PiecewiseLinearTokenizer(COLUMNS, dim=3, n_bins=0)


def test_matches_rtdl_num_embeddings() -> None:
    """With its parameters and distinct bin edges, rtdl_num_embeddings gives the same."""
    rtdl = pytest.importorskip("rtdl_num_embeddings", reason="rtdl_num_embeddings is not installed")
    rows = torch.stack([torch.randn(500), torch.randn(500).round().clamp(0)], 1)
    theirs = rtdl.PiecewiseLinearEmbeddings(rtdl.compute_bins(rows, n_bins=6), 5, activation=True, version="A")
    none = torch.zeros(500, 0, dtype=torch.int64)
    ours = PiecewiseLinearTokenizer(Columns(("age", "size")), dim=5, n_bins=6)
    ours.fit(Table(rows, none))
    with torch.no_grad():
        ours.bias.copy_(theirs.linear.bias)
        for j in range(2):
            real = (from_bits(ours.edges)[j].diff() > 0).nonzero().squeeze(1)
            places = [*range(len(real) - 1), -1]  # theirs keeps the last bin at the end
            ours.weight[j, real] = theirs.linear.weight[j, places]
    x = rows + 0.3 * torch.randn_like(rows) * math.pi
    (tokens,) = ours(Table(x, none))
    torch.testing.assert_close(tokens.x, theirs(x), rtol=1e-4, atol=1e-5)
