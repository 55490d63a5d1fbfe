import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from helpers.small import TABLE, make_inputs, make_labels
from mmfusion.data.frame import FrameDataset
from mmfusion.data.images.bag_rows import BagRows
from mmfusion.data.images.intensity import Intensity
from mmfusion.data.images.rows import MappedRows
from mmfusion.spec import DataSpec, Image
from mmfusion.tokens import Bag

SIZES = [2, 0, 3, 1]
SPEC = DataSpec({"image0": Image(1, (2, 2), bag=3), "table0": TABLE}, n_classes=3)
PIXELS = torch.arange(6 * 4, dtype=torch.uint8).view(6, 1, 2, 2)


def dataset(images: object = None, **options: object) -> FrameDataset:
    plain = DataSpec({"table0": TABLE}, n_classes=3)
    return FrameDataset(
        SPEC,
        pd.DataFrame(index=range(4)),
        images={"image0": BagRows(PIXELS, SIZES) if images is None else images},
        tables={"table0": make_inputs(plain, 4)["table0"]},
        targets=make_labels(SPEC, 4),
        **options,
    )


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6), st.data())
def test_rows_return_images_of_their_case(sizes: list[int], data: st.DataObject) -> None:
    rows = torch.tensor(data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=8)), dtype=torch.int64)
    ends = np.cumsum(sizes)
    images = torch.arange(float(ends[-1])).view(-1, 1, 1, 1)
    for stored in (images, MappedRows(images.numpy())):
        bag = BagRows(stored, sizes)[rows]
        for row, x, mask in zip(rows.tolist(), bag.x, bag.mask, strict=True):
            assert x[mask].flatten().tolist() == list(range(ends[row] - sizes[row], ends[row]))
            assert not x[~mask].any()


def test_dataset_returns_bags() -> None:
    data = dataset()
    cases = data.__getitems__([3, 0, 1])
    bag = cases.inputs["image0"]
    assert isinstance(bag, Bag)
    assert bag.mask.tolist() == [[True, False], [True, True], [False, False]]
    assert bag.x.dtype == torch.float32
    assert torch.equal(bag.x[1] * 255, PIXELS[:2].float())
    assert cases.present["image0"].tolist() == [True, True, False]
    assert data.present("image0").tolist() == [True, False, True, True]
    assert torch.equal(data.pixels("image0", slice(2, 4)), PIXELS[2:])
    assert data.n_images("image0").tolist() == SIZES
    some = data.subset([2, 1])
    assert torch.equal(some.pixels("image0"), PIXELS[2:5])
    assert data.stored().__getitems__([0]).inputs["image0"].x.dtype == torch.uint8
    assert data.without(["image0"]).__getitems__([0]).inputs.keys() == {"table0"}


def test_single_cases_are_collated_to_the_largest_bag() -> None:
    data = dataset()
    (read,) = DataLoader(data, batch_size=4)
    (stacked,) = DataLoader([data[i] for i in range(4)], batch_size=4)
    for name in ("x", "mask"):
        assert torch.equal(getattr(read.inputs["image0"], name), getattr(stacked.inputs["image0"], name))


def test_checksums_cover_images_and_their_number() -> None:
    kind, sums = dataset().image_checksums("image0")
    assert kind == "pixels"
    assert (sums == 0).tolist() == [False, True, False, False]
    changed = PIXELS.clone()
    changed[4] += 1
    other = dataset(BagRows(changed, SIZES)).image_checksums("image0")[1]
    assert (sums != other).tolist() == [False, False, True, False]
    moved = dataset(BagRows(PIXELS, [2, 1, 2, 1])).image_checksums("image0")[1]
    assert (sums != moved).tolist() == [False, True, True, False]


def test_intensities_apply_to_each_image() -> None:
    """Standardized one by one; statistics of a sequence are over all images of the cases."""
    data = dataset()
    scaled = data.scaled({"image0": Intensity("image")}).__getitems__([0, 2]).inputs["image0"]
    torch.testing.assert_close(scaled.x[scaled.mask], Intensity("image")(PIXELS[[0, 1, 2, 3, 4]]))
    fitted = data.subset([0, 2]).fitted({"image0": Intensity("sequence")})["image0"]
    assert fitted.mean == Intensity("sequence").fit(PIXELS[:5]).mean


def test_mismatched_sizes_raise() -> None:
    with pytest.raises(ValueError, match="sizes that sum to the number of images, 6, got 5"):
        BagRows(PIXELS, [2, 3])
    with pytest.raises(ValueError, match="bag=3 in the spec: expected BagRows per case, got Tensor"):
        dataset(PIXELS[:4])
    with pytest.raises(ValueError, match=r"at most 3 per case in the spec \(bag\), got 4"):
        dataset(BagRows(PIXELS, [4, 0, 1, 1]))
