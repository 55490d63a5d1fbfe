from typing import Any

import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.map_fusion_by_hand import SPEC, close, column, expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "hidden"),
    [({}, 10), ({"activation": "tanh", "reduction": 2.0}, 37), ({"activation": "sigmoid", "offset": 1.0}, 10)],
)
def test_prediction_matches_reference(options: dict[str, Any], hidden: int) -> None:
    """Before the last stage, from the means of its 64 channels and the table's 10 features."""
    model = mmf.create_model("daft", SPEC, **options)
    generate = model.encoders.fusions[0].generate["image0"]
    assert list(generate) == ["3"]
    one, _, two = generate["3"]
    assert (one.in_features, one.out_features, two.out_features) == (74, hidden, 128)
    act_of = {"linear": lambda v: v, "tanh": torch.tanh, "sigmoid": torch.sigmoid}[options.get("activation", "linear")]

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        if point != 3:
            return x
        joined = torch.cat([x.mean((2, 3)), cells], 1)
        scale, shift = (torch.relu(joined @ one.weight.T) @ two.weight.T).chunk(2, 1)
        return (options.get("offset", 0.0) + column(act_of(scale))) * x + column(shift)

    close(*expected(model, act))


def test_unknown_activation_raises() -> None:
    with pytest.raises(ValueError, match="activation expects one of linear, tanh, sigmoid"):
        mmf.create_model("daft", SPEC, activation="gelu")
