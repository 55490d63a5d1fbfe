import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.map_fusion_by_hand import SPEC, close, column, expected
from helpers.small import make_inputs


@pytest.mark.slow
@pytest.mark.parametrize("table_hidden", [64, 3])
def test_prediction_matches_reference(table_hidden: int) -> None:
    """After the last stage only; the encoder returns a single stage."""
    model = mmf.create_model("metanet", SPEC, table_hidden=table_hidden)
    one, _, two, _ = model.encoders.fusions[0].gate["image0"]["1"]
    assert one.out_features == table_hidden

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        return x if point == 0 else x * column(torch.sigmoid(two(torch.relu(one(cells)))))

    close(*expected(model, act))


def test_prediction_from_precomputed_maps() -> None:
    model, inputs = mmf.create_model("metanet", SPEC).eval(), make_inputs(SPEC, 3)
    torch.testing.assert_close(model(inputs | model.encode(inputs)).logits, model(inputs).logits)
