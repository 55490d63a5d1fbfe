from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import mmfusion as mmf
from mmfusion.spec import Columns
from mmfusion.tokenizers import Compressed, FeatureTokenizer, TableMLP
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0]]), torch.tensor([[1, 2], [-1, 0]]))


def of(tokenizer: Any, table: Table) -> Tensor:
    (tokens,) = tokenizer(table)
    return tokens.x


def test_feature_tokens() -> None:
    """``x w + b`` for a number, ``e[x] + b`` for a category, a token of the column's own for what is missing."""
    t = FeatureTokenizer(COLUMNS, dim=4)
    (tokens,) = t(TABLE)
    sex, place = t.embedding[:2], t.embedding[2:]
    expected = [
        [2 * t.weight[0] + t.bias[0], t.absent[1], sex[1] + t.bias[2], place[2] + t.bias[3]],
        [0.5 * t.weight[0] + t.bias[0], -t.weight[1] + t.bias[1], t.absent[2], place[0] + t.bias[3]],
    ]
    assert tokens.mask is None
    torch.testing.assert_close(tokens.x, torch.stack([torch.stack(row) for row in expected]))
    assert t.n_tokens == 4


def test_missing_cells_masked() -> None:
    (tokens,) = FeatureTokenizer(COLUMNS, dim=4, missing="mask")(TABLE)
    assert tokens.mask.tolist() == [[True, False, True, True], [True, True, False, True]]
    assert bool(tokens.x.isfinite().all())


@pytest.mark.parametrize("missing", ["token", "mask"])
def test_cls(missing: Any) -> None:
    t = FeatureTokenizer(COLUMNS, dim=4, missing=missing, cls=True)
    (tokens,) = t(TABLE)
    assert t.n_tokens == tokens.x.shape[1] == 5
    assert torch.equal(tokens.x[:, 0], t.cls[0].expand(2, -1))
    if missing == "mask":
        assert tokens.mask.tolist() == [[True, True, False, True, True], [True, True, True, False, True]]


@pytest.mark.parametrize("missing", ["token", "mask"])
def test_a_missing_cell_sends_no_gradient_into_numbers(missing: Any) -> None:
    t = FeatureTokenizer(Columns(("age",), (("sex", 2),)), dim=3, missing=missing)
    (tokens,) = t(Table(torch.tensor([[NAN]]), torch.tensor([[-1]])))
    tokens.filled().sum().backward()
    for parameter in (t.weight, t.embedding, t.bias):
        assert parameter.grad is None or not bool(parameter.grad.any())
    if missing == "token":
        assert torch.equal(t.absent.grad, torch.ones(2, 3))


@pytest.mark.parametrize(
    "columns", [Columns(("a",)), Columns(categorical=(("a", 1),)), Columns(("a", "b"), (("c", 1), ("d", 7)))]
)
@pytest.mark.parametrize("name", mmf.registry.tabular_tokenizers.list())
def test_every_tabular_tokenizer_takes_any_columns_and_nothing_at_all(name: str, columns: Columns) -> None:
    tokenizer = mmf.registry.tabular_tokenizers.create(name, columns, dim=4)
    nothing = Table(
        torch.full((3, len(columns.numerical)), NAN), torch.full((3, len(columns.categorical)), -1, dtype=torch.int64)
    )
    (tokens,) = tokenizer(nothing)
    assert tokens.x.shape[0] == 3
    assert tokens.x.shape[2] == 4
    assert bool(tokens.x.isfinite().all())
    tokens.x.sum().backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in tokenizer.parameters())


@given(st.permutations(range(5)), st.integers(0, 10**6))
@pytest.mark.parametrize("name", mmf.registry.tabular_tokenizers.list())
def test_every_tabular_tokenizer_works_a_case_at_a_time(name: str, order: list[int], seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    numerical = torch.randn(5, 2, generator=g)
    numerical[torch.rand(5, 2, generator=g) < 0.3] = NAN
    categorical = torch.randint(-1, 2, (5, 2), generator=g)
    tokenizer = mmf.registry.tabular_tokenizers.create(name, COLUMNS, dim=4)
    whole = of(tokenizer, Table(numerical, categorical))
    torch.testing.assert_close(of(tokenizer, Table(numerical[order], categorical[order])), whole[order])


def test_mlp() -> None:
    """Numbers, which of them are missing, one-hot categories."""
    t = TableMLP(COLUMNS, dim=4)
    inputs = torch.tensor([[2.0, 0, 0, 1, 0, 1, 0, 0, 1], [0.5, -1, 0, 0, 0, 0, 1, 0, 0]])
    assert torch.equal(of(t, TABLE)[:, 0], t.layers(inputs))


def test_compressed() -> None:
    t = Compressed(FeatureTokenizer(COLUMNS, dim=4), n_latents=3)
    (tokens,) = t(TABLE)
    assert tokens.mask is None
    compress = t.compress
    expected = torch.nn.functional.conv1d(of(t.tokenizer, TABLE), compress.weight, compress.bias, padding=1)
    torch.testing.assert_close(tokens.x, expected)
    assert t.columns is COLUMNS


def test_compressed_says_what_the_tokens_are() -> None:
    """No grid, the columns' number and width, options that arrive."""
    cells = FeatureTokenizer(COLUMNS, dim=4, missing="mask", cls=True)
    t = Compressed(cells, n_latents=3, compression={"name": "resampler", "depth": 3})
    assert t.compress.grid is t.compress.position is None
    assert (t.compress.latents.shape, len(t.compress.blocks)) == ((3, 4), 3)
    t = Compressed(cells, n_latents=3, compression={"name": "conv", "kernel_size": 1})
    assert t.compress.weight.shape == (3, 5, 1)
    (tokens,) = Compressed(cells, n_latents=1, compression="pool")(TABLE)
    (own,) = cells(TABLE)
    torch.testing.assert_close(tokens.x[:, 0], torch.stack([x[m].mean(0) for x, m in zip(own.x, own.mask)]))


def test_compressed_is_masked_where_every_cell_is() -> None:
    t = Compressed(FeatureTokenizer(COLUMNS, dim=4, missing="mask"), n_latents=3)
    nothing = Table(torch.tensor([[NAN, NAN], [1.0, NAN]]), torch.tensor([[-1, -1], [-1, -1]]))
    (tokens,) = t(nothing)
    assert tokens.mask.tolist() == [[False] * 3, [True] * 3]


def test_compressed_refuses_an_unknown_compression() -> None:
    with pytest.raises(ValueError, match="unknown token compression 'nope'"):
        Compressed(FeatureTokenizer(COLUMNS, dim=4), n_latents=3, compression="nope")


def test_refuses_an_unknown_way_of_missing() -> None:
    with pytest.raises(ValueError, match="missing must be 'token' or 'mask', got 'zero'"):
        FeatureTokenizer(COLUMNS, dim=4, missing="zero")


@pytest.mark.parametrize("name", mmf.registry.tabular_tokenizers.list())
@pytest.mark.parametrize(
    ("numerical", "categorical"),
    [
        (torch.zeros(2, 1), torch.zeros(2, 2).long()),
        (torch.zeros(2, 2), torch.zeros(2, 3).long()),
        (torch.zeros(2, 2), torch.zeros(3, 2).long()),
        (torch.zeros(2, 2).long(), torch.zeros(2, 2).long()),
        (torch.zeros(2, 2), torch.zeros(2, 2)),
        (torch.zeros(2, 2), torch.zeros(2, 2).int()),
        (torch.zeros(2), torch.zeros(2).long()),
        (torch.tensor(0.0), torch.zeros(2, 2).long()),
    ],
)
def test_refuses_another_table(name: str, numerical: Tensor, categorical: Tensor) -> None:
    tokenizer = mmf.registry.tabular_tokenizers.create(name, COLUMNS, dim=4)
    tokenizer(TABLE)
    with pytest.raises(ValueError, match=r"numerical \(.*, 2\) float and categorical \(.*, 2\) int64 is expected"):
        tokenizer(Table(numerical, categorical))
