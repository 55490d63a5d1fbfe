import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmfusion.data.frame import FrameDataset
from mmfusion.data.transforms.table_augment import TableAugment, training_rows
from mmfusion.spec import Classes, Columns, DataSpec, Image
from mmfusion.tokens import Table


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(n: int = 500, first: int = 0) -> Table:
    """Each cell says which case it is of; cells of column 1 of every fifth case are missing."""
    numerical = (torch.arange(first, first + n)[:, None] * torch.ones(1, 2)).float()
    categorical = torch.arange(first, first + n)[:, None].repeat(1, 3)
    numerical[::5, 1], categorical[::5, 1] = torch.nan, -1
    return Table(numerical, categorical)


def same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a == b) | (a.isnan() & b.isnan())


def cells(table: Table) -> torch.Tensor:
    return torch.cat([table.numerical, table.categorical.float().where(table.categorical >= 0, torch.nan)], dim=1)


def test_default_is_identity():
    table = numbered()
    assert TableAugment().idle
    new, changed = TableAugment()(table, seeded())
    assert torch.equal(new.categorical, table.categorical)
    assert not changed.any()


def test_masked_cells_are_missing_and_others_unchanged():
    table = numbered()
    before = cells(table).clone()
    new, changed = TableAugment(mask=0.3)(table, seeded())
    assert changed.shape == (500, 5)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.03)
    assert cells(new)[changed].isnan().all()
    assert same(cells(new), before)[~changed].all()
    assert same(cells(table), before).all()
    assert new.numerical.dtype == torch.float32
    assert new.categorical.dtype == torch.int64


def test_corrupted_cells_come_from_fitted_columns():
    table, training = numbered(), numbered(first=1000)
    new, changed = TableAugment(corrupt=0.4).fit(training)(table, seeded())
    assert changed.float().mean() == pytest.approx(0.4, abs=0.03)
    assert same(cells(new), cells(table))[~changed].all()
    drawn = cells(new)
    assert (drawn[changed & ~drawn.isnan()] >= 1000).all()
    # Missing as often as the column is: never, or a fifth.
    for column in range(5):
        share = drawn[:, column][changed[:, column]].isnan().float().mean()
        assert share == pytest.approx(0.2 if column in (1, 3) else 0.0, abs=0.08)
    # Every cell from a row of its own, all over the training rows.
    whole = cells(TableAugment(corrupt=1.0).fit(training)(table, seeded())[0])
    assert (whole[:, 0] == whole[:, 2]).float().mean() < 0.05
    assert whole[:, 0].min() < 1020
    assert whole[:, 0].max() > 1480


def test_cutmix_cells_come_from_one_other_case():
    table = numbered()
    new, changed = TableAugment(cutmix=0.5)(table, seeded())
    assert changed.float().mean() == pytest.approx(0.5, abs=0.03)
    for case, (row, drawn) in enumerate(zip(cells(new), changed)):
        origins = set(row[drawn & ~row.isnan()].tolist())
        assert case not in origins
        assert len(origins) <= 1
    assert same(cells(new), cells(table))[~changed].all()


def test_cases_without_table_are_excluded():
    table, present = numbered(), torch.arange(500) % 2 == 0
    spoilt = Table(table.numerical.clone(), table.categorical.clone())
    spoilt.numerical[~present], spoilt.categorical[~present] = 1e6, 10**6
    augment = TableAugment(corrupt=0.2, mask=0.2, cutmix=0.5).fit(numbered(first=1000))
    clean, changed = augment(table, seeded(), present)
    other, also = augment(spoilt, seeded(), present)
    assert same(cells(clean), cells(other))[present].all()
    assert torch.equal(changed, also)
    assert not changed[~present].any()
    assert same(cells(other), cells(spoilt))[~present].all()
    assert (cells(other)[present].nan_to_num() < 1e5).all()


def test_cutmix_of_batch_of_one_is_identity():
    table = numbered(1)
    new, changed = TableAugment(cutmix=1.0)(table, seeded())
    assert same(cells(new), cells(table)).all()
    assert not changed.any()


@given(st.integers(0, 5), st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([0.0, 0.3, 1.0]))
def test_reproducible_by_seed_with_independent_streams(seed, corrupt, cutmix):
    table, rows = numbered(40), numbered(first=100)
    augment = TableAugment(corrupt=corrupt, cutmix=cutmix, mask=0.5).fit(rows)
    first, again = augment(table, seeded(seed)), augment(table, seeded(seed))
    assert same(cells(first[0]), cells(again[0])).all()
    assert torch.equal(first[1], again[1])
    alone, hidden = TableAugment(mask=0.5)(table, seeded(seed))
    assert cells(first[0])[hidden].isnan().all()
    # What is not hidden and not replaced stands as it was.
    assert same(cells(first[0]), cells(alone))[~first[1]].all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TableAugment(mask=-0.1), "mask expects float from 0 to 1, got -0.1"),
        (lambda: TableAugment(mask=2, corrupt="all"), "corrupt expects float .*, got 'all'; mask expects .* got 2"),
        (lambda: TableAugment(cutmix=True), "cutmix expects float from 0 to 1, got True"),
        (lambda: TableAugment(corrupt=0.1)(numbered(3), seeded()), "call fit first"),
        (lambda: TableAugment(corrupt=0.1).fit(numbered(0)), "needs training rows"),
        (
            lambda: TableAugment(corrupt=0.1).fit(Table(torch.zeros(2, 1), torch.zeros(2, 3).long()))(
                numbered(3), seeded()
            ),
            r"have \(1, 3\) numerical and categorical columns, the batch has \(2, 3\)",
        ),
    ],
)
def test_invalid_options_and_calls_raise(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture
def dataset() -> FrameDataset:
    table = numbered(30)
    spec = DataSpec(
        {
            "image": Image(1, (2, 2)),
            "meta": Columns(numerical=("a", "b"), categorical=tuple((name, 40) for name in "cde")),
        },
        targets={"label": Classes(2)},
    )
    return FrameDataset(
        spec,
        pd.DataFrame(index=range(30)),
        images={"image": torch.zeros(30, 1, 2, 2)},
        tables={"meta": table},
        targets={"label": torch.zeros(30, dtype=torch.int64)},
        present={"meta": torch.arange(30) != 7},
    )


def test_training_rows_are_of_cases_with_table(dataset, monkeypatch):
    rows = training_rows(dataset, "meta", seeded(), batch_size=8)
    assert rows.categorical[:, 0].tolist() == [i for i in range(30) if i != 7]
    few = training_rows(dataset, "meta", seeded(), most=10, batch_size=8).categorical[:, 0].tolist()
    assert few == sorted(set(few))
    assert few == training_rows(dataset, "meta", seeded(), most=10).categorical[:, 0].tolist()
    assert few != training_rows(dataset, "meta", seeded(1), most=10).categorical[:, 0].tolist()
    # A dataset that cannot do without its images.
    monkeypatch.setattr(FrameDataset, "without", lambda self, names: self)
    with pytest.raises(ValueError, match="'image' is not a table modality"):
        training_rows(dataset, "image", seeded())
