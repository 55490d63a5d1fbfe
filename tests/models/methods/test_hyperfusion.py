import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import mmfusion as mmf
from helpers.map_fusion_by_hand import SPEC, close, expected


@pytest.mark.slow
@pytest.mark.parametrize("table_dim", [8, 3])
def test_prediction_matches_reference(table_dim: int) -> None:
    """Before the last stage, next to 64 channels, one convolution per case."""
    model = mmf.create_model("hyperfusion", SPEC, table_dim=table_dim)
    block = model.encoders.fusions[0]
    embed, generate = block.embed["image0"], block.generate["image0"]
    assert list(generate) == ["3"]
    assert (embed[0].out_features, generate["3"].out_features) == (table_dim, 64 * 64 + 64)

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        if point != 3:
            return x
        values = generate["3"](embed(cells))
        beside = [
            F.conv2d(x[i : i + 1], row[: 64 * 64].view(64, 64, 1, 1), row[64 * 64 :]) for i, row in enumerate(values)
        ]
        return x + torch.cat(beside)

    close(*expected(model, act))


def test_initial_variance_follows_table() -> None:
    """Two numbers and two categorical columns of 2 and 4: four squares of 1 among ten features."""
    assert mmf.create_model("hyperfusion", SPEC).encoders.fusions[0].mean_square == pytest.approx(0.4)
