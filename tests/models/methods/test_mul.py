import pytest
from torch import Tensor

import mmfusion as mmf
from helpers.map_fusion_by_hand import SPEC, close, column, expected


@pytest.mark.slow
@pytest.mark.parametrize("table_hidden", [8, 3])
def test_prediction_matches_reference(table_hidden: int) -> None:
    """The maps before each of four stages and after the last, times a chain of vectors."""
    model = mmf.create_model("mul", SPEC, table_hidden=table_hidden)
    block = model.encoders.fusions[0]
    first, onward = block.first["image0"], list(block.onward["image0"].values())
    assert first[0].out_features == table_hidden
    assert [layer.out_features for layer in (first[2], *onward)] == [16, 16, 32, 64, 128]

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        vector = first(cells)
        for layer in onward[:point]:
            vector = layer(vector)
        return x * column(vector)

    close(*expected(model, act))
