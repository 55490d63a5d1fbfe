from typing import Any

import pytest
import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers import FeatureTokenizer
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0]]), torch.tensor([[1, 2], [-1, 0]]))


def test_feature_tokens_by_hand() -> None:
    """``x w + b`` for a number, ``e[x] + b`` for a category, a learned token per column for a missing cell."""
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


def test_missing_mask_masks_cells() -> None:
    (tokens,) = FeatureTokenizer(COLUMNS, dim=4, missing="mask")(TABLE)
    assert tokens.mask.tolist() == [[True, False, True, True], [True, True, False, True]]
    assert bool(tokens.x.isfinite().all())


@pytest.mark.parametrize("missing", ["token", "mask", "impute"])
def test_cls_token_comes_first(missing: Any) -> None:
    t = FeatureTokenizer(COLUMNS, dim=4, missing=missing, cls=True)
    (tokens,) = t(TABLE)
    assert t.n_tokens == tokens.x.shape[1] == 5
    assert torch.equal(tokens.x[:, 0], t.cls[0].expand(2, -1))
    if missing == "mask":
        assert tokens.mask.tolist() == [[True, True, False, True, True], [True, True, True, False, True]]


@pytest.mark.parametrize("missing", ["token", "mask"])
def test_missing_cell_gives_no_gradient_to_weights(missing: Any) -> None:
    t = FeatureTokenizer(Columns(("age",), (("sex", 2),)), dim=3, missing=missing)
    (tokens,) = t(Table(torch.tensor([[NAN]]), torch.tensor([[-1]])))
    tokens.filled().sum().backward()
    for parameter in (t.weight, t.embedding, t.bias):
        assert parameter.grad is None or not bool(parameter.grad.any())
    if missing == "token":
        assert torch.equal(t.absent.grad, torch.ones(2, 3))


def test_missing_impute_matches_marginals() -> None:
    """The mean's token, or the mean token by shares, and a missing indicator; unfitted, 0 and equal shares."""
    t = FeatureTokenizer(COLUMNS, dim=4, missing="impute")
    sex = t.embedding[:2]
    expected = [t.bias[1] + t.absent[1], sex.mean(0) + t.bias[2] + t.absent[2]]
    (tokens,) = t(TABLE)
    torch.testing.assert_close(torch.stack([tokens.x[0, 1], tokens.x[1, 2]]), torch.stack(expected))
    t.fit(Table(torch.tensor([[1.0, 3.0], [NAN, NAN], [0.0, -1.0]]), torch.tensor([[0, 0], [0, -1], [1, 2]])))
    expected = [t.weight[1] + t.bias[1] + t.absent[1], (2 * sex[0] + sex[1]) / 3 + t.bias[2] + t.absent[2]]
    (tokens,) = t(TABLE)
    torch.testing.assert_close(torch.stack([tokens.x[0, 1], tokens.x[1, 2]]), torch.stack(expected))
    assert tokens.mask is None
    there = torch.tensor([[True, False, True, True], [True, True, False, True]])
    (plain,) = _same(t)(TABLE)
    assert torch.equal(tokens.x[there], plain.x[there])


def _same(t: FeatureTokenizer) -> FeatureTokenizer:
    """With the same parameters and masked cells."""
    other = FeatureTokenizer(t.columns, dim=t.dim, missing="mask")
    other.load_state_dict({key: value for key, value in t.state_dict().items() if key in other.state_dict()})
    return other


def test_parameter_names_and_initial_values_are_stable() -> None:
    """Checkpoints and seeds of before there was a choice of tokenizers hold."""
    t = FeatureTokenizer(COLUMNS, dim=4, cls=True)
    shapes = {key: tuple(value.shape) for key, value in t.state_dict().items()}
    assert shapes == {
        "weight": (2, 4), "bias": (4, 4), "embedding": (5, 4), "absent": (4, 4), "cls": (1, 1, 4), "first_row": (2,)
    }  # fmt: skip
    torch.manual_seed(3)
    t = FeatureTokenizer(COLUMNS, dim=4, cls=True)
    torch.manual_seed(3)
    for key in ("weight", "bias", "embedding", "absent", "cls"):
        assert torch.equal(getattr(t, key), torch.empty(shapes[key]).uniform_(-0.5, 0.5))
