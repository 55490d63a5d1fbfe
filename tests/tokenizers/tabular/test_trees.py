from typing import Any

import pytest
import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers import TreeTokenizer
from mmfusion.tokenizers.tabular import forest
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [0.5, -1.0], [NAN, NAN]]), torch.tensor([[1, 2], [-1, 0], [-1, -1]]))


def fitted(missing: Any = "token", **options: Any) -> TreeTokenizer:
    """Two trees of one split: at age 1, and at sex being the second."""
    t = TreeTokenizer(COLUMNS, dim=3, n_trees=2, depth=1, missing=missing, **options)
    state = t.state_dict()
    state["feature"], state["missing_right"] = torch.tensor([[0], [3]]), torch.tensor([[True], [False]])
    state["threshold"], state["fitted"] = torch.tensor([[1.0], [0.5]]).view(torch.int32), torch.tensor(True)
    t.load_state_dict(state)
    return t


def test_one_leaf_token_per_tree_plus_missing_vectors() -> None:
    """Leaves 0 and 1 are the first tree's, 2 and 3 the second's."""
    t = fitted()
    (tokens,) = t(TABLE)
    gone = torch.stack([t.absent[1], t.absent[2], t.absent.sum(0)])
    expected = t.leaves[torch.tensor([[1, 3], [0, 2], [1, 2]])] + gone.unsqueeze(1)
    torch.testing.assert_close(tokens.x, expected)
    assert tokens.mask is None


def test_missing_mask() -> None:
    """A tree that uses a missing cell is masked; all of them if all cells are missing."""
    t = fitted("mask")
    (tokens,) = t(TABLE)
    assert tokens.mask.tolist() == [[True, True], [True, False], [False, False]]
    assert torch.equal(tokens.x[0], t.leaves[[1, 3]])


def test_missing_impute() -> None:
    """The mean enters the trees as a number, and shares as zeros and ones do."""
    t = fitted("impute")
    t.marginals.fit(Table(torch.tensor([[0.0, 0.0], [1.5, 0.0]]), torch.tensor([[1, 0], [1, 0]])))
    (tokens,) = t(TABLE)
    torch.testing.assert_close(tokens.x[2], t.leaves[[0, 3]] + t.absent.sum(0))


def test_fit_depends_on_labels() -> None:
    """The forest finds what the label depends on; the size of the state dict is fixed."""
    pytest.importorskip("sklearn")
    rows = Table(torch.randn(200, 2), torch.stack([torch.arange(200) % 2, torch.arange(200) % 3], 1))
    t = TreeTokenizer(COLUMNS, dim=3, n_trees=8, depth=3)
    empty = {key: value.shape for key, value in t.state_dict().items()}
    t.fit(rows, rows.categorical[:, 0])
    found = t.feature[~t.threshold.view(torch.float32).isnan()]
    assert int((found == 2).sum() + (found == 3).sum()) >= 8
    assert {key: value.shape for key, value in t.state_dict().items()} == empty
    t.fit(rows, rows.numerical[:, 1])  # numbers will do as well
    found = t.feature[~t.threshold.view(torch.float32).isnan()]
    assert int((found == 1).sum()) > len(found) / 2


def test_fitted_tokenizer_needs_no_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    rows = Table(torch.randn(50, 2), torch.zeros(50, 2).long())
    one, other = (TreeTokenizer(COLUMNS, dim=3, n_trees=2, depth=2) for _ in range(2))
    one.fit(rows, torch.arange(50) % 2)

    def absent(*names: str) -> Any:
        raise ImportError("scikit-learn is not there")

    monkeypatch.setattr(forest, "need", absent)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(rows)[0].x, one(rows)[0].x)
    with pytest.raises(ImportError, match="scikit-learn is not there"):
        other.fit(rows, torch.arange(50) % 2)


def test_unfitted_forward_raises() -> None:
    t = TreeTokenizer(COLUMNS, dim=3)
    with pytest.raises(ValueError, match="'trees' has no trees yet: fit"):
        t(TABLE)
    other = TreeTokenizer(COLUMNS, dim=3)
    other.load_state_dict(t.state_dict())
    with pytest.raises(ValueError, match="'trees' has no trees yet: fit"):
        other(TABLE)
    with pytest.raises(ValueError, match="'trees' learns from labels"):
        t.fit(TABLE)


@pytest.mark.parametrize("options", [{"n_trees": 0}, {"depth": 0}, {"depth": 13}, {"min_leaf": 0}])
def test_invalid_options_raise(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"^TreeTokenizer: (n_trees|min_leaf|depth) expects int from 1 to"):
        TreeTokenizer(COLUMNS, dim=3, **options)
