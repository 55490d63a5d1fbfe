import numpy as np
import pandas as pd
import pytest
import torch

from mmfusion.data import FrameDataset
from mmfusion.experiments.reference_features import features, table_of
from mmfusion.experiments.reference_models import gradient_boosting, logistic_regression, reference_probabilities
from mmfusion.spec import Classes, Columns, DataSpec, Image
from mmfusion.tokens import Table

COLUMNS = Columns(("age",), (("sex", 3),))
KIND = Classes(3, ("a", "b", "c"))


def dataset(n: int, *, seed: int = 0, present: torch.Tensor | None = None, labels: torch.Tensor | None = None):
    g = torch.Generator().manual_seed(seed)
    codes = torch.randint(-1, 2, (n, 1), generator=g)
    numerical = torch.randn(n, 1, generator=g)
    numerical[::7] = torch.nan
    # A category tells class 0, the number's sign the rest; class 2 is not there.
    told = torch.where(codes[:, 0] == 1, 0, (numerical[:, 0] > 0).long())
    return FrameDataset(
        DataSpec({"photo": Image(1, (2, 2)), "meta": COLUMNS}, targets={"label": KIND}),
        pd.DataFrame(index=range(n)),
        images={"photo": torch.zeros(n, 1, 2, 2)},
        tables={"meta": Table(numerical, codes)},
        targets={"label": told if labels is None else labels},
        present={} if present is None else {"meta": present},
    )


def test_features_concatenate_cells():
    table = Table(torch.tensor([[1.5], [torch.nan]]), torch.tensor([[2], [-1]]))
    np.testing.assert_array_equal(features(table), [[1.5, 2.0], [np.nan, np.nan]])


def test_table_of_dataset():
    there = torch.tensor([True, False, True])
    columns, table = table_of(dataset(3, present=there))
    assert columns == COLUMNS
    assert table.numerical[1].isnan().all()
    assert table.categorical[1].item() == -1
    assert table.categorical[2] == dataset(3).__getitems__([2]).inputs["meta"].categorical[0]
    two = DataSpec({"a": COLUMNS, "b": COLUMNS}, n_classes=2)
    one = Table(torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.int64))
    several = FrameDataset(
        two, pd.DataFrame(index=[0, 1]), images={}, tables={"a": one, "b": one}, targets={"label": torch.tensor([0, 1])}
    )
    with pytest.raises(ValueError, match=r"need a single table, the dataset has \['a', 'b'\]"):
        table_of(several)


@pytest.mark.slow
@pytest.mark.parametrize("builder", [logistic_regression, gradient_boosting])
def test_models_use_numbers_categories_and_missingness(builder):
    """Without the search, which is slow: what each can learn from each kind of cell by itself."""
    estimator = builder(COLUMNS)
    search = estimator if builder is gradient_boosting else estimator[-1]
    search.set_params(param_grid={key: values[-1:] for key, values in search.param_grid.items()}, cv=2)
    n = np.arange(400)
    cases = {
        "number": (np.where(n % 2 == 0, 1.0, -1.0), np.zeros(400)),
        "category": (np.zeros(400), np.where(n % 2 == 0, 1.0, 2.0)),
        "missing number": (np.where(n % 2 == 0, np.nan, n % 3 - 1.0), np.zeros(400)),
        "missing category": (np.zeros(400), np.where(n % 2 == 0, np.nan, 1.0 + n % 4 // 2)),
    }
    for name, (numbers, codes) in cases.items():
        x = np.stack([numbers, codes], 1)
        p = estimator.fit(x, n % 2).predict_proba(x)
        assert (p.argmax(1) == n % 2).all(), name


@pytest.mark.slow
def test_probabilities_of_held_out_sets(monkeypatch):
    monkeypatch.undo()  # the whole search: what other tests fit is too weak to be judged
    train, test = dataset(200), dataset(40, seed=1)
    found = reference_probabilities(train, {"test": test}, "label", KIND)
    assert list(found) == ["logistic regression", "gradient boosting"]
    truth = test.labels("label").numpy()
    for parts in found.values():
        p = parts["test"]
        assert p.shape == (40, 3)
        np.testing.assert_allclose(p.sum(1), 1)
        assert (p[:, 2] == 0).all()  # a class that training lacks
        assert (p.argmax(1) == truth).mean() > 0.9
    again = reference_probabilities(train, {"test": test}, "label", KIND)
    assert all((found[name]["test"] == again[name]["test"]).all() for name in found)


def test_too_few_cases_of_a_class_raises():
    labels = torch.tensor([0] * 30 + [1] * 4)
    with pytest.raises(ValueError, match=r"5 training cases of each class, classes \[1\] have fewer"):
        reference_probabilities(dataset(34, labels=labels), {}, "label", KIND)
