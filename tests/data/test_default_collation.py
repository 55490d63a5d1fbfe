import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from mmfusion.data import Cases
from mmfusion.data.images.rows import MappedRows
from mmfusion.registry import datasets
from mmfusion.tokens import Maps
from mmfusion.training.precompute import MapsDataset


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_dataloader_with_collate(workers: int) -> None:
    train = datasets.create(
        "synthetic_derm7pt", n_train=48, n_validation=24, n_test=24, size=32, missing_images=0.3
    ).train
    batches = list(DataLoader(train, batch_size=20, num_workers=workers))
    assert [len(batch.position) for batch in batches] == [20, 20, 8]
    expected = train.__getitems__(list(range(20)))
    assert isinstance(batches[0], Cases)
    assert not all(bool(row.all()) for row in batches[0].present.values())
    for name in ("derm", "clinic"):
        assert torch.equal(batches[0].inputs[name], expected.inputs[name])
        assert torch.equal(batches[0].present[name], expected.present[name])
    assert next(iter(DataLoader(Subset(train, [3, 5]), batch_size=2))).position.tolist() == [3, 5]
    singles = DataLoader([train[i] for i in range(4)], batch_size=4)
    assert next(iter(singles)).position.tolist() == [0, 1, 2, 3]


def test_dataloader_with_precomputed_maps() -> None:
    train = datasets.create("synthetic_derm7pt", n_train=48, n_validation=24, n_test=24, size=32).train
    maps = {name: [np.random.default_rng(0).random((48, 2, 3, 3), dtype=np.float32)] for name in ("derm", "clinic")}
    computed = MapsDataset(train, {name: [MappedRows(stage) for stage in stages] for name, stages in maps.items()})
    for given in (computed, [computed[i] for i in range(48)]):
        batches = list(DataLoader(given, batch_size=40))
        assert [len(batch.position) for batch in batches] == [40, 8]
        result = batches[1].inputs["derm"]
        assert isinstance(result, Maps)
        assert isinstance(result.stages, tuple)
        assert result.stages[0].numpy().tolist() == maps["derm"][0][40:].tolist()
