import pytest
import torch
from torch import Tensor

from mmfusion.spec import Columns
from mmfusion.tokenizers import Compressed, FeatureTokenizer, TabularTokenizer
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0]]), torch.tensor([[1, 2], [-1, 0]]))


def of(tokenizer: TabularTokenizer, table: Table) -> Tensor:
    (tokens,) = tokenizer(table)
    return tokens.x


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


def test_compressed_fits_what_it_compresses() -> None:
    t = Compressed(FeatureTokenizer(COLUMNS, dim=4, missing="impute"), n_latents=3)
    assert (t.n_tokens, t.dim, t.needs_rows) == (3, 4, True)
    assert not Compressed(FeatureTokenizer(COLUMNS, dim=4), n_latents=3).needs_rows
    t.fit(TABLE)
    assert t.tokenizer.marginals.mean.tolist() == [1.25, -1.0]
