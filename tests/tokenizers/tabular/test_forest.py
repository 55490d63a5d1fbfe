"""Trees as tensors find the leaves that scikit-learn finds."""

import numpy as np
import pytest
import torch
from torch import Tensor

from mmfusion.tokenizers.tabular.forest import Forest, empty_forest, exported, grow, leaves

NAN = float("nan")


def rows(n: int, *, missing: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    x[:, 3] = (x[:, 3] * 2).round() / 7  # few values, many ties
    labels = (x[:, 0] + x[:, 1] * x[:, 2] > 0).long() + (x[:, 3] > 0.2).long()
    x[torch.rand(n, 4, generator=g) < missing] = NAN
    return x, labels


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_leaves_match_sklearn(kind: str, missing: float) -> None:
    """Two cases share a leaf there if and only if they do here, also with cells missing only at prediction."""
    ensemble = pytest.importorskip("sklearn.ensemble")
    x, labels = rows(300, missing=missing)
    made = {"classes": ensemble.RandomForestClassifier, "numbers": ensemble.RandomForestRegressor}[kind]
    model = made(n_estimators=6, max_depth=5, random_state=1).fit(x.numpy(), labels.numpy())
    forest = exported([one.tree_ for one in model.estimators_], 5)
    # Beside random rows, those that stand exactly at a threshold or next to it.
    at = torch.from_numpy(np.concatenate([one.tree_.threshold for one in model.estimators_]).astype(np.float32))
    at = at[at.isfinite()]  # an infinite one parts what is missing from what is not
    edge = torch.cat([at, torch.nextafter(at, torch.tensor(9.0)), torch.nextafter(at, torch.tensor(-9.0))])
    new = torch.cat([x, rows(400, missing=0.4, seed=5)[0], edge.unsqueeze(1).expand(-1, 4)])
    found, expected = leaves(new, forest)[0].numpy(), model.apply(new.numpy())
    for t in range(6):
        pairs = set(zip(found[:, t].tolist(), expected[:, t].tolist()))
        assert len(pairs) == len(set(found[:, t].tolist())) == len(set(expected[:, t].tolist()))
        assert len(pairs) > 4


def test_leaves_by_hand() -> None:
    """Which leaf, and whether a missing cell was used on the way."""
    forest = Forest(torch.tensor([[0, 1, 0]]), torch.tensor([[0.5, 2.0, NAN]]), torch.tensor([[True, False, False]]))
    x = torch.tensor([[0.5, 2.0], [0.5, 2.1], [0.6, NAN], [NAN, 0.0], [0.0, NAN], [NAN, NAN]])
    found, met = leaves(x, forest)
    assert found.squeeze(1).tolist() == [0, 1, 2, 2, 0, 2]
    assert met.squeeze(1).tolist() == [False, False, False, True, True, True]


def test_split_on_missing() -> None:
    forest = Forest(torch.tensor([[0]]), torch.tensor([[float("inf")]]), torch.tensor([[True]]))
    found, met = leaves(torch.tensor([[5.0], [NAN]]), forest)
    assert found.squeeze(1).tolist() == [0, 1]
    assert met.squeeze(1).tolist() == [False, True]


def test_empty_forest_has_one_leaf() -> None:
    found, met = leaves(torch.tensor([[NAN], [3.0]]), empty_forest(3, 2))
    assert not bool(found.any())
    assert not bool(met.any())


def test_forest_is_reproducible_by_seed() -> None:
    pytest.importorskip("sklearn")
    x, labels = rows(100, missing=0.2)
    one, two, other = (grow(x, labels, n_trees=3, depth=3, min_leaf=5, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.nan_to_num(9.0), b.nan_to_num(9.0)) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one.threshold.nan_to_num(9.0), other.threshold.nan_to_num(9.0))
    assert int(leaves(x, one)[0].max()) < 8
