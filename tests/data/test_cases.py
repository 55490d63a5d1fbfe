"""What a dataset of cases may offer beyond the protocol."""

import pandas as pd
import pytest
import torch

from helpers.small import make_inputs, make_spec
from mmfusion.data.cases import without_images
from mmfusion.data.frame import FrameDataset


def test_without_images_keeps_presence() -> None:
    """The images are not read; an unknown name is an error."""
    spec = make_spec(images=2, size=(4, 4))
    inputs = make_inputs(spec, 3)
    dataset = FrameDataset(
        spec,
        pd.DataFrame(index=range(3)),
        images={name: inputs[name] for name in spec.images},
        tables={name: inputs[name] for name in spec.tables},
        targets={"label": torch.arange(3)},
    )
    case = without_images(dataset, ["image1"])[2]
    assert set(case.inputs) == set(inputs) - {"image1"}
    assert torch.equal(case.inputs["image0"], inputs["image0"][2])
    assert bool(case.present["image1"])
    assert set(dataset[2].inputs) == set(inputs)
    with pytest.raises(ValueError, match="unknown image modality"):
        without_images(dataset, ["image7"])


def test_without_images_of_plain_dataset_is_identity() -> None:
    plain = object()
    assert without_images(plain, ["image"]) is plain  # type: ignore[arg-type, comparison-overlap]  # it needs nothing
