import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from modulated_by_hand import SPEC, close, column, expected
from small import make_inputs


def test_prediction() -> None:
    """Behind the last stage alone; the encoder has a single stage to give."""
    model = mmf.create_model("metablock", SPEC)
    block = model.modulators[0]
    assert model.encoders["image0"].n_stages == 1

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        if point == 0:
            return x
        f, g = (layers["image0"]["1"](cells) for layers in (block.f, block.g))
        return torch.sigmoid(torch.tanh(x * column(f)) + column(g))

    close(*expected(model, act))


def test_a_frozen_encoders_maps_will_do() -> None:
    model, inputs = mmf.create_model("metablock", SPEC).eval(), make_inputs(SPEC, 3)
    torch.testing.assert_close(model(inputs | model.encode(inputs)).logits, model(inputs).logits)


def test_a_single_table_in_training() -> None:
    model, inputs = mmf.create_model("metablock", SPEC).train(), make_inputs(SPEC, 3)
    one = {"table0": torch.tensor([True, False, False])}
    with pytest.raises(ValueError, match="train with at least 2 cases that have a table"):
        model(inputs, one)
    assert model.eval()(inputs, one).logits.isfinite().all()
