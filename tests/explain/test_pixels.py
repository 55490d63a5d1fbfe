import pytest
import torch
from torch.testing import assert_close

from helpers.explained import batch_for, image_of, left_as_it_was, small_model
from mmfusion.explain import Output, integrated_gradients, occlusion, without_content
from mmfusion.models import FusionModel
from mmfusion.tokens import Inputs

pytest.importorskip("captum")
SOME = torch.tensor([True, False])


def logit(model: FusionModel, inputs: Inputs) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(inputs).logits
    return logits[:, 1]


@pytest.mark.slow
def test_integrated_gradients_sum_to_output_change() -> None:
    model = small_model("concat")
    inputs = dict(batch_for(model, 2))
    output = Output(index=1, unit="output")
    with torch.inference_mode(), left_as_it_was(model):
        heat = integrated_gradients(model, inputs, output=output, n_steps=40, batch_size=7)
        lacking = integrated_gradients(model, inputs, {"image0": SOME}, output=output, n_steps=2)
    assert heat.shape == (2, 16, 16)
    empty = without_content(image_of(inputs))
    change = logit(model, inputs) - logit(model, inputs | {"image0": empty})
    assert_close(heat.sum((1, 2)), change, atol=2e-3, rtol=2e-2)
    assert lacking[0].any()
    assert not lacking[1].any()


def test_occlusion_by_hand() -> None:
    model = small_model("concat")
    inputs = dict(batch_for(model, 2))
    output = Output(index=1, unit="output")
    with left_as_it_was(model):
        heat = occlusion(model, inputs, window=(8, 16), baseline="mean", output=output, batch_size=3)
    x = image_of(inputs)
    covered = x.clone()
    covered[:, :, 8:] = without_content(x, "mean")[:, :, 8:]
    loss = logit(model, inputs) - logit(model, inputs | {"image0": covered})
    assert_close(heat[:, 8:], loss[:, None, None].expand(2, 8, 16))
    for window, stride in (((8,), None), ((17, 1), None), ((4, 4), (5, 1))):
        with pytest.raises(ValueError, match="window expects"):
            occlusion(model, inputs, window=window, stride=stride)
