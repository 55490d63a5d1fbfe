import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.map_fusion_by_hand import SPEC, close, column, expected
from helpers.small import make_inputs


@pytest.mark.slow
def test_prediction_matches_reference() -> None:
    """After the last stage only; the encoder returns a single stage."""
    model = mmf.create_model("metablock", SPEC)
    block = model.encoders.fusions[0]
    assert model.encoders.backbones["image0"].n_stages == 1

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        if point == 0:
            return x
        f, g = (layers["image0"]["1"](cells) for layers in (block.f, block.g))
        return torch.sigmoid(torch.tanh(x * column(f)) + column(g))

    close(*expected(model, act))


@pytest.mark.slow
def test_prediction_from_precomputed_maps() -> None:
    model, inputs = mmf.create_model("metablock", SPEC).eval(), make_inputs(SPEC, 3)
    torch.testing.assert_close(model(inputs | model.encode(inputs)).logits, model(inputs).logits)


@pytest.mark.slow
def test_single_table_in_training_uses_running_statistics() -> None:
    """The statistics stay as they are; the cases without a table keep their maps."""
    model, inputs = mmf.create_model("metablock", SPEC, dropout=0.0).train(), make_inputs(SPEC, 3)
    one = {"table0": torch.tensor([True, False, False])}
    block = model.encoders.fusions[0]
    before = {key: value.clone() for key, value in block.state_dict().items()}
    output = model(inputs, one)
    output.logits.sum().backward()
    assert all(bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in block.parameters() if p.grad is not None)
    torch.testing.assert_close(block.state_dict(), before, rtol=0, atol=0)
    none = {"table0": torch.zeros(3, dtype=torch.bool)}
    torch.testing.assert_close(output.logits[1:], model(inputs, none).logits[1:])
