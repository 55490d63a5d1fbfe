import pytest
import torch
from torch import Tensor

from mmfusion.spec import Columns
from mmfusion.tokenizers import CompressedTable, TabularTokenizer
from mmfusion.tokens import Table
from mmfusion.training.fitting import row_learners

NAN = float("nan")
MASKED = {"name": "feature", "missing": "mask"}
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0]]), torch.tensor([[1, 2], [-1, 0]]))


def of(tokenizer: TabularTokenizer, table: Table) -> Tensor:
    (tokens,) = tokenizer(table)
    return tokens.x


def test_compresses_tokens_of_tokenizer() -> None:
    t = CompressedTable(COLUMNS, dim=4, n_latents=3, compression="conv")
    (tokens,) = t(TABLE)
    assert tokens.mask is None
    compress = t.compress
    expected = torch.nn.functional.conv1d(of(t.tokenizer, TABLE), compress.weight, compress.bias, padding=1)
    torch.testing.assert_close(tokens.x, expected)
    assert t.columns is COLUMNS


def test_compression_receives_token_shape_and_options() -> None:
    """No grid, the columns' number and width, options that arrive."""
    t = CompressedTable(COLUMNS, dim=4, of=MASKED, n_latents=3, compression={"name": "resampler", "depth": 3})
    assert t.compress.grid is t.compress.position is None
    assert (t.compress.latents.shape, len(t.compress.blocks)) == ((3, 4), 3)
    t = CompressedTable(COLUMNS, dim=4, of=MASKED, n_latents=3, compression={"name": "conv", "kernel_size": 1})
    assert t.compress.weight.shape == (3, 4, 1)
    pooled = CompressedTable(COLUMNS, dim=4, of=MASKED, n_latents=1, compression="pool")
    (tokens,) = pooled(TABLE)
    (own,) = pooled.tokenizer(TABLE)
    torch.testing.assert_close(tokens.x[:, 0], torch.stack([x[m].mean(0) for x, m in zip(own.x, own.mask)]))


def test_compressed_is_masked_if_all_cells_are() -> None:
    t = CompressedTable(COLUMNS, dim=4, of=MASKED, n_latents=3)
    nothing = Table(torch.tensor([[NAN, NAN], [1.0, NAN]]), torch.tensor([[-1, -1], [-1, -1]]))
    (tokens,) = t(nothing)
    assert tokens.mask.tolist() == [[False] * 3, [True] * 3]


def test_unknown_compression_raises() -> None:
    with pytest.raises(ValueError, match="unknown token compression 'nope'"):
        CompressedTable(COLUMNS, dim=4, n_latents=3, compression="nope")


def test_inner_tokenizer_is_fitted() -> None:
    """The search for a model's tokenizers to fit includes it."""
    t = CompressedTable(COLUMNS, dim=4, of={"name": "feature", "missing": "impute"}, n_latents=3)
    assert (t.n_tokens, t.dim, t.columns) == (3, 4, COLUMNS)
    assert row_learners(t) == [t.tokenizer]
    assert row_learners(CompressedTable(COLUMNS, dim=4, n_latents=3)) == []
