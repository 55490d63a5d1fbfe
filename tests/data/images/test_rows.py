import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.rows import DecodedRows, MappedRows

SHAPE = (5, 1, 2, 3)


@pytest.fixture
def mapped(tmp_path) -> np.memmap:
    np.save(tmp_path / "a.npy", np.arange(30, dtype=np.float16).reshape(SHAPE))
    return np.load(tmp_path / "a.npy", mmap_mode="r")


def test_rows_match_array(mapped):
    rows = MappedRows(mapped)
    assert (rows.shape, rows.dtype, len(rows)) == (SHAPE, torch.float16, 5)
    result = rows[torch.tensor([4, 0, 4])]
    assert torch.equal(result, torch.from_numpy(np.array(mapped))[[4, 0, 4]])
    result.zero_()  # a copy
    assert rows[torch.tensor([4])].any()


def test_slots_may_be_shared_or_missing(mapped):
    rows = MappedRows(mapped, np.array([3, -1, 3]))
    assert rows.shape == (3, *SHAPE[1:])
    result = rows[torch.tensor([2, 1, 0])]
    assert torch.equal(result[0], torch.from_numpy(np.array(mapped[3])))
    assert torch.equal(result[0], result[2])
    assert not result[1].any()


def test_pickled_rows_hold_the_file_name(mapped, tmp_path):
    large = np.lib.format.open_memmap(tmp_path / "b.npy", mode="w+", dtype=np.uint8, shape=(1000, 3, 8, 8))
    large[7] = 9
    packed = pickle.dumps(MappedRows(large))
    assert len(packed) < 1000
    assert (pickle.loads(packed)[torch.tensor([7])] == 9).all()
    again = pickle.loads(pickle.dumps(MappedRows(mapped, np.array([4]))))
    assert torch.equal(again[torch.tensor([0])], MappedRows(mapped)[torch.tensor([4])])


def test_truncated_file_raises(mapped, tmp_path):
    rows = MappedRows(mapped)
    copy = pickle.loads(pickle.dumps(rows))
    os.truncate(tmp_path / "a.npy", 140)
    for item in (rows, copy):
        with pytest.raises(ValueError, match=r"a\.npy ends before its slot 4"):
            item[torch.tensor([4])]


def test_negative_and_out_of_range_rows(mapped):
    rows = MappedRows(mapped)
    assert torch.equal(rows[torch.tensor([-1])], rows[torch.tensor([4])])
    assert rows[torch.zeros(0, dtype=torch.int64)].shape == (0, *SHAPE[1:])
    with pytest.raises(IndexError):
        rows[torch.tensor([5])]


@pytest.mark.parametrize("part", [lambda a: a[2:], lambda a: np.array(a)])
def test_partial_array_is_pickled_as_data(mapped, part):
    rows = MappedRows(part(mapped))
    i = torch.tensor([1])
    assert torch.equal(pickle.loads(pickle.dumps(rows))[i], rows[i])


def test_decoded_rows_match_files(tmp_path, write_image):
    pixels = write_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"hello")
    rows = DecodedRows(ImageSource("file", (8, 8)), [tmp_path / "a.png", None, tmp_path / "b.png", Path("gone.png")])
    assert (rows.shape, rows.dtype, len(rows)) == ((4, 3, 8, 8), torch.uint8, 4)
    result = pickle.loads(pickle.dumps(rows))[torch.tensor([1, 0])]
    assert not result[0].any()
    assert np.array_equal(result[1].permute(1, 2, 0), pixels)
    for row, name in ((2, "b.png"), (3, "gone.png")):
        with pytest.raises(ValueError, match=f"{name} cannot be decoded, truncated or damaged"):
            rows[torch.tensor([0, row])]
