import torch

from mmfusion.spec import Columns
from mmfusion.tokenizers import FeatureTokenizer, MeanToken
from mmfusion.tokenizers.tabular.trees import TreeTokenizer
from mmfusion.tokens import Table

NAN = float("nan")
COLUMNS = Columns(("age", "size"), (("sex", 2), ("place", 3)))
TABLE = Table(torch.tensor([[2.0, NAN], [NAN, NAN], [0.5, -1.0]]), torch.tensor([[1, 2], [-1, -1], [-1, 0]]))


def test_unmasked_mean() -> None:
    cells = FeatureTokenizer(COLUMNS, dim=5)
    (tokens,), (own,) = MeanToken(cells)(TABLE), cells(TABLE)
    assert tokens.mask is None
    torch.testing.assert_close(tokens.x, torch.stack([sum(case) / 4 for case in own.x]).unsqueeze(1))


def test_masked_tokens_are_ignored() -> None:
    """Three known cells, none, three: the mean of three, a masked zero, the mean of three."""
    cells = FeatureTokenizer(COLUMNS, dim=5, missing="mask")
    (tokens,), (own,) = MeanToken(cells)(TABLE), cells(TABLE)
    assert tokens.mask.tolist() == [[True], [False], [True]]
    assert not bool(tokens.x[1].any())
    torch.testing.assert_close(tokens.x[0, 0], (own.x[0, 0] + own.x[0, 2] + own.x[0, 3]) / 3)
    torch.testing.assert_close(tokens.x[2, 0], (own.x[2, 0] + own.x[2, 1] + own.x[2, 3]) / 3)


def test_needs_rows_follows_inner_tokenizer() -> None:
    assert not MeanToken(FeatureTokenizer(COLUMNS, dim=5)).needs_rows
    trees = TreeTokenizer(COLUMNS, dim=5, n_trees=2, min_leaf=1)
    mean = MeanToken(trees)
    assert mean.needs_rows
    assert (mean.columns, mean.dim, mean.n_tokens) == (COLUMNS, 5, 1)
    before = {key: x.clone() for key, x in trees.state_dict().items()}
    mean.fit(TABLE, torch.tensor([0, 1, 1]))
    assert any(not torch.equal(x.nan_to_num(9.0), before[key].nan_to_num(9.0)) for key, x in trees.state_dict().items())
