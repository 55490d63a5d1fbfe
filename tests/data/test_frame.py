import pickle

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from torch.utils.data import DataLoader

from mmfusion.data.cases import collate
from mmfusion.data.frame import FrameDataset, as_floats
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.masks import Masks
from mmfusion.data.images.photographs import ImageSource
from mmfusion.spec import Columns, DataSpec, Image
from mmfusion.tokens import Table

SPEC = DataSpec({"derm": Image(3, (2, 2)), "meta": Columns(numerical=("age",), categorical=(("sex", 2),))}, n_classes=2)


def dataset(n: int = 5, **changes) -> FrameDataset:
    parts = {
        "images": {"derm": torch.arange(n * 12, dtype=torch.uint8).view(n, 3, 2, 2)},
        "tables": {"meta": Table(torch.arange(n).float().view(n, 1), torch.zeros(n, 1, dtype=torch.int64))},
        "targets": {"label": torch.arange(n) % 2},
        "ids": [f"c{i}" for i in range(n)],
        "groups": [f"p{i // 2}" for i in range(n)],
        **changes,
    }
    return FrameDataset(SPEC, pd.DataFrame({"age": range(n)}), **parts)


def test_batch_has_images_from_0_to_1():
    batch = dataset().__getitems__([4, 0])
    assert batch.position.tolist() == [4, 0]
    assert batch.targets["label"].tolist() == [0, 0]
    assert batch.inputs["derm"].dtype == torch.float32
    assert torch.equal(batch.inputs["derm"][0].flatten() * 255, torch.arange(48, 60).float())
    assert batch.inputs["meta"].numerical.tolist() == [[4.0], [0.0]]
    assert {name: p.tolist() for name, p in batch.present.items()} == {"derm": [True, True], "meta": [True, True]}


def test_single_cases_collate_to_batch():
    data = dataset()
    batch, stacked = data.__getitems__([1, 3]), collate([data[1], data[3]])
    assert data[1].inputs["derm"].shape == (3, 2, 2)
    assert data[1].position.shape == ()
    assert torch.equal(batch.inputs["derm"], stacked.inputs["derm"])
    assert torch.equal(batch.inputs["meta"].numerical, stacked.inputs["meta"].numerical)
    assert torch.equal(batch.position, stacked.position)
    assert torch.equal(batch.targets["label"], stacked.targets["label"])
    assert data[-1].position.item() == 4
    with pytest.raises(IndexError, match="case 5 of a dataset of 5"):
        data[5]


def test_works_with_torch_dataloader():
    batches = list(DataLoader(dataset(), batch_size=2, collate_fn=collate))
    assert [b.position.tolist() for b in batches] == [[0, 1], [2, 3], [4]]


def test_subset_shares_storage():
    data = dataset()
    part = data.subset(np.array([4, 2, 1]))
    again = part.subset([2, 0])
    assert len(part) == 3
    assert again.ids == ["c1", "c4"]
    assert again.groups == ["p0", "p2"]
    assert again.labels("label").tolist() == [1, 0]
    assert again.frame["age"].tolist() == [1, 4]
    batch = again.__getitems__([1])
    assert batch.position.tolist() == [1]
    assert batch.inputs["meta"].numerical.tolist() == [[4.0]]
    assert again._images["derm"].data_ptr() == data._images["derm"].data_ptr()
    assert torch.equal(part.pixels("derm"), data.pixels("derm")[[4, 2, 1]])
    with pytest.raises(IndexError):
        data.subset([5])


def test_float_images_are_unchanged():
    image = torch.randn(5, 3, 2, 2)
    assert torch.equal(dataset(images={"derm": image}).__getitems__([0, 1]).inputs["derm"], image[:2])


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32])
def test_memory_mapped_arrays(tmp_path, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 2, 2)).astype(dtype)
    np.save(tmp_path / "pixels.npy", pixels)
    whole = dataset(images={"derm": torch.from_numpy(pixels)})
    mapped = dataset(images={"derm": np.load(tmp_path / "pixels.npy", mmap_mode="r")})
    for data, other in ((mapped, whole), (mapped.subset([3, 1]), whole.subset([3, 1]))):
        result, expected = data.__getitems__([1, 0]).inputs["derm"], other.__getitems__([1, 0]).inputs["derm"]
        assert result.dtype == torch.float32
        assert torch.equal(result, expected)
        assert torch.equal(data.pixels("derm"), other.pixels("derm"))
    assert torch.equal(mapped.pixels("derm", slice(1, 3)), torch.from_numpy(pixels[1:3]))
    assert len(pickle.dumps(mapped)) < 5000
    assert torch.equal(pickle.loads(pickle.dumps(mapped)).pixels("derm"), whole.pixels("derm"))


def test_mapped_array_of_other_shape_raises():
    with pytest.raises(ValueError, match=r"'derm' expects shape \(n, \*\(3, 2, 2\)\), got \(5, 3, 2, 3\)"):
        dataset(images={"derm": np.zeros((5, 3, 2, 3), dtype=np.uint8)})


def test_as_floats_divides_bytes_by_255():
    every_byte = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_floats(every_byte), torch.from_numpy(np.arange(256, dtype=np.float32) / np.float32(255)))
    assert every_byte[255] == 255
    assert as_floats(torch.tensor([0.1], dtype=torch.float16)).dtype == torch.float32
    data = dataset()
    stored = data.stored().subset([4, 0]).__getitems__([1, 0]).inputs["derm"]
    assert stored.dtype == torch.uint8
    assert torch.equal(as_floats(stored), data.__getitems__([0, 4]).inputs["derm"])
    assert data[0].inputs["derm"].dtype == torch.float32


def test_cases_without_labels():
    data = dataset(targets={})
    assert data[0].targets == {}
    with pytest.raises(ValueError, match="read without labels"):
        data.labels("label")
    with pytest.raises(ValueError, match=r"unknown target 'grade'; valid: label"):
        dataset().labels("grade")
    with pytest.raises(ValueError, match=r"unknown image modality 'meta'; valid: derm"):
        dataset().pixels("meta")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, r"expected images \['derm'\]"),
        ({"images": {"derm": torch.zeros(5, 3, 2, 3)}}, r"'derm' expects shape \(n, \*\(3, 2, 2\)\)"),
        ({"images": {"derm": torch.zeros(4, 3, 2, 2)}}, r"5 rows, but got .*'derm'.*4"),
        ({"tables": {"meta": Table(torch.zeros(5, 2), torch.zeros(5, 1).long())}}, "expects 1 numerical and 1 categ"),
        ({"targets": {"grade": torch.zeros(5).long()}}, r"expected targets \['label'\]"),
        (
            {"targets": {"label": torch.tensor([0, 1, 2, 0, -1])}},
            "from 0 to 1, got 2 in row 2 and 1 more: leave out cases",
        ),
        (
            {"targets": {"label": torch.tensor([0, 1, 1, 0, -100])}},
            r"'label' expects .* 0 to 1, got -100 in row 4: leave",
        ),
        ({"present": {"derm": torch.ones(3, dtype=torch.bool)}}, "presence of 'derm'"),
        ({"ids": ["a", "b", "c", "d", "b"]}, "'b' occurs 2 times"),
        ({"groups": ["a"]}, "groups"),
    ],
)
def test_mismatched_arguments_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        dataset(**changes)


def test_intensities_apply_to_every_access():
    data = dataset()
    by_image = data.scaled({"derm": Intensity("image")})
    plain = data[2].inputs["derm"]
    expected = (plain - plain.mean()) / plain.std(correction=0)
    torch.testing.assert_close(by_image[2].inputs["derm"], expected)
    assert torch.equal(by_image.stored()[2].inputs["derm"], by_image[2].inputs["derm"])
    assert torch.equal(by_image.subset([2])[0].inputs["derm"], by_image[2].inputs["derm"])
    # The others are as they were, and idle ones stay bytes on the way.
    assert torch.equal(data[2].inputs["derm"], plain)
    assert data.scaled({"derm": Intensity()}).stored()[2].inputs["derm"].dtype == torch.uint8


def test_intensities_are_fitted_to_present_images():
    data = dataset(present={"derm": torch.tensor([True, True, False, True, True])})
    fitted = data.subset([1, 2, 4]).fitted({"derm": Intensity("sequence")})["derm"]
    values = torch.stack([data[i].inputs["derm"] for i in (1, 4)]).transpose(0, 1).flatten(1).double()
    torch.testing.assert_close(torch.tensor(fitted.mean, dtype=torch.float64), values.mean(1), atol=1e-6, rtol=1e-6)
    assert data.fitted({"derm": Intensity("image")}) == {"derm": Intensity("image")}


def test_masks_follow_their_cases(tmp_path):
    """By position in a subset, through changes of the dataset and a worker process; None without any."""
    pixels = [np.eye(2, dtype=np.uint8) * 255, np.array([[255, 0], [0, 0]], dtype=np.uint8)]
    for i, mask in enumerate(pixels):
        PIL.Image.fromarray(mask).save(tmp_path / f"{i}.png")
    paths = (None, tmp_path / "0.png", tmp_path / "1.png", None, None)
    masks = Masks(ImageSource("file", (2, 2)), paths, (tmp_path / "0.png",) * 5)
    data = pickle.loads(pickle.dumps(dataset().masked({"derm": masks}).stored().subset([2, 0, 1])))
    assert data.mask("derm", 0).tolist() == [[True, False], [False, False]]
    assert data.mask("derm", 1) is None
    assert data.mask("derm", -1).tolist() == [[True, False], [False, True]]
    assert dataset().mask("derm", 0) is None
    with pytest.raises(IndexError, match="case 3 of a dataset of 3"):
        data.mask("derm", 3)
    for name in ("meta", "clinic"):
        with pytest.raises(ValueError, match=f"unknown image modality '{name}'; valid: derm"):
            data.mask(name, 0)
    with pytest.raises(ValueError, match="masks of 'derm' expect one per case, got 5 for 3 cases"):
        data.masked({"derm": masks})
    with pytest.raises(ValueError, match="unknown image modality 'clinic'"):
        dataset().masked({"clinic": masks})
