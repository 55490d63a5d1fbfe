import pytest
import torch
from torch.testing import assert_close

from helpers.explained import batch_for, image_of, small_model
from mmfusion.explain import Output
from mmfusion.explain.one_image import OneImage
from mmfusion.explain.undisturbed import rows_of


@pytest.mark.parametrize("name", ["concat", pytest.param("film", marks=pytest.mark.slow)])
def test_a_models_output_by_one_image(name: str) -> None:
    """The other image is encoded once, if it can be; absent, it may hold anything."""
    model = small_model(name, images=2)
    inputs = dict(batch_for(model, 2))
    present = {"image1": torch.tensor([True, False])}
    inputs["image1"] = image_of(inputs, "image1").clone()
    inputs["image1"][1] = torch.nan  # type: ignore[index]  # a tensor
    x = torch.rand(3, *image_of(inputs).shape[1:])
    with torch.no_grad():
        score = Output().of(model, inputs, present)
        for i in range(2):
            case = rows_of(inputs, torch.tensor([i]))
            known = {"image1": present["image1"][i : i + 1]}
            function = OneImage(model, case, known, "image0", score.case(i))
            expected = [score.case(i)(model({**case, "image0": image[None]}, known)) for image in x]
            assert_close(function(x), torch.cat(expected), atol=1e-5, rtol=1e-5)
            assert (function.case["image1"] is case["image1"]) == (name == "film")
