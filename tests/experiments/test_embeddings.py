from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch

from mmfusion.data import FrameDataset
from mmfusion.experiments.embeddings import embed
from mmfusion.experiments.reference_features import Layout, combined
from mmfusion.spec import Classes, Columns, DataSpec, Image
from mmfusion.tokens import Maps, Table
from mmfusion.training.precompute import MapsDataset

CPU = torch.device("cpu")


class Encoders(torch.nn.Module):
    images: Mapping[str, object] = {"left": None, "right": None}


class Model(torch.nn.Module):
    """Two stages: the pixels, and the pixels twice; the images that a case lacks are zeros."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.encoders = Encoders()
        self.factor = factor
        self.seen: list[set[str]] = []

    def encode(self, inputs: Mapping[str, torch.Tensor], present: Mapping[str, torch.Tensor]) -> dict[str, Maps]:
        assert not self.training
        self.seen.append(set(present))
        return {name: Maps((x, self.factor * x)) for name, x in inputs.items()}


def dataset(n: int = 5) -> FrameDataset:
    left = torch.arange(n * 4).float().reshape(n, 1, 2, 2)
    right = torch.ones(n, 1, 2, 2)
    return FrameDataset(
        DataSpec(
            {"left": Image(1, (2, 2)), "right": Image(1, (2, 2)), "meta": Columns(("age",))},
            targets={"label": Classes(2, ("a", "b"))},
        ),
        pd.DataFrame(index=range(n)),
        images={"left": left, "right": right},
        tables={"meta": Table(torch.zeros(n, 1), torch.zeros(n, 0, dtype=torch.int64))},
        targets={"label": torch.arange(n) % 2},
        present={"right": torch.arange(n) != 1},
    )


def test_embedding_is_mean_of_last_stage() -> None:
    model = Model().train()
    found = embed(model, dataset(), batch_size=2, device=CPU)
    assert model.training
    np.testing.assert_array_equal(found.values[:, 0], 2 * (4 * np.arange(5) + 1.5))
    np.testing.assert_array_equal(found.values[:, 1], [2, np.nan, 2, 2, 2])
    np.testing.assert_array_equal(found.present, [[True, i != 1] for i in range(5)])
    # Of whole batches nothing is said to be absent, and of the table nothing at all.
    assert model.seen == [{"right"}, set(), set()]


def test_precomputed_maps_replace_images() -> None:
    cases = dataset()
    maps = {
        name: [torch.zeros(5, 3, 2, 2), torch.full((5, 4, 1, 1), value)]
        for name, value in {"left": 3.0, "right": 4.0}.items()
    }
    model = Model()
    found = embed(model, MapsDataset(cases, maps), batch_size=2, device=CPU)  # type: ignore[arg-type]  # not on disk
    assert model.seen == []
    assert found.values.shape == (5, 8)
    np.testing.assert_array_equal(found.values[0], [3] * 4 + [4] * 4)
    assert np.isnan(found.values[1, 4:]).all()


def test_nonfinite_maps_raise() -> None:
    with pytest.raises(ValueError, match="maps of 'left' are not finite for 5 of 5 cases"):
        embed(Model(float("nan")), dataset(), batch_size=2, device=CPU)
    with pytest.raises(ValueError, match="need a model with an image encoder"):
        embed(torch.nn.Linear(1, 1), dataset(), batch_size=2, device=CPU)


def test_features_follow_their_layout() -> None:
    columns = Columns(("age",), (("sex", 3),))
    table = Table(torch.tensor([[1.5], [torch.nan]]), torch.tensor([[2], [-1]]))
    found = embed(Model(), dataset(2), batch_size=2, device=CPU)
    layout, x = combined((columns, table), found)
    assert layout == Layout(1, (3,), 2, 2)
    assert layout.columns == {"numbers": [0], "categories": [1], "embeddings": [2, 3], "images": [4, 5]}
    np.testing.assert_array_equal(x, [[1.5, 2, 3, 2, 1, 1], [np.nan, np.nan, 11, np.nan, 1, 0]])
    assert combined(None, found)[0] == Layout(embedded=2, images=2)
    assert combined((columns, table))[0] == Layout(1, (3,))
