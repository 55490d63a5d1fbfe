from typing import Any

import pytest
import torch
from torch.nn.functional import layer_norm

from mmfusion.spec import Columns
from mmfusion.tokenizers import TabTransformer
from mmfusion.tokens import Table, Tokens

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0], [NAN, NAN]]), torch.tensor([[1, 2], [-1, 0], [-1, -1]]))


def build_tokenizer(missing: Any, columns: Columns = COLUMNS) -> TabTransformer:
    return TabTransformer(columns, dim=4, n_heads=2, missing=missing).double()


def test_categories_are_transformed_and_numbers_normalized() -> None:
    t = build_tokenizer("token")
    (tokens,) = t(TABLE)
    x = t.categories(Table(torch.zeros(3, 0), TABLE.categorical))[0]
    for block in t.blocks:
        x = block(x)
    torch.testing.assert_close(tokens.x[:, :2], x.x)
    w, b = t.project.weight, t.project.bias
    numbers = torch.stack([2 * w[:, 0] + b + t.absent[1], 0.5 * w[:, 0] - w[:, 1] + b, b + t.absent[0] + t.absent[1]])
    torch.testing.assert_close(tokens.x[:, 2], layer_norm(numbers, (4,)))
    assert tokens.mask is None


def test_missing_mask() -> None:
    """A missing category is masked in the attention, a missing number left out of the sum."""
    t = build_tokenizer("mask")
    (tokens,) = t(TABLE)
    assert tokens.mask.tolist() == [[True, True, True], [False, True, True], [False, False, False]]
    w, b = t.project.weight, t.project.bias
    torch.testing.assert_close(tokens.x[0, 2], layer_norm(2 * w[:, 0] + b, (4,)))
    alone = Tokens(t.categories.embedding[2:3].unsqueeze(0) + t.categories.bias[1])
    for block in t.blocks:
        alone = block(alone)
    torch.testing.assert_close(tokens.x[1, 1], alone.x[0, 0])


def test_missing_impute() -> None:
    t = build_tokenizer("impute")
    t.fit(TABLE)
    (tokens,) = t(TABLE)
    w, b = t.project.weight, t.project.bias
    torch.testing.assert_close(tokens.x[0, 2], layer_norm(2 * w[:, 0] - w[:, 1] + b + t.absent[1], (4,)))
    assert t.categories.marginals.share.tolist() == [0, 1, 0.5, 0, 0.5]


def test_single_number_is_not_normalized_away() -> None:
    """Normalized over the columns, as published, it would always be 0."""
    t = build_tokenizer("token", Columns(("age",)))
    (tokens,) = t(Table(torch.tensor([[0.5], [1.0]]), torch.zeros(2, 0, dtype=torch.int64)))
    assert not torch.allclose(tokens.x[0], tokens.x[1])


@pytest.mark.parametrize(
    ("columns", "n_tokens"), [(COLUMNS, 3), (Columns(("a", "b")), 1), (Columns((), (("c", 2), ("d", 3))), 2)]
)
def test_n_tokens_by_columns(columns: Columns, n_tokens: int) -> None:
    assert build_tokenizer("token", columns).n_tokens == n_tokens


def test_categories_attend_to_categories_only() -> None:
    t = build_tokenizer("token")
    (tokens,) = t(Table(torch.zeros(3, 2), torch.tensor([[0, 0], [0, 1], [0, 0]])))
    assert not torch.allclose(tokens.x[0, 0], tokens.x[1, 0])
    (other,) = t(Table(torch.ones(3, 2), torch.tensor([[0, 0], [0, 1], [0, 0]])))
    assert torch.equal(other.x[:, :2], tokens.x[:, :2])


def test_invalid_n_heads_raises() -> None:
    with pytest.raises(ValueError, match="n_heads must divide dim"):
        TabTransformer(COLUMNS, dim=4, n_heads=3)
