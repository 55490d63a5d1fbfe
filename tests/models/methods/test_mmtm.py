from typing import Any

import pytest
import torch
from torch import Tensor

import mmfusion as mmf
from helpers.map_fusion_by_hand import SPEC, close, column, expected
from helpers.small import make_inputs, make_spec


@pytest.mark.slow
@pytest.mark.parametrize(("options", "points"), [({}, {2, 3, 4}), ({"at": (1,), "ratio": 2.0}, {1})])
def test_prediction_matches_reference(options: dict[str, Any], points: set[int]) -> None:
    """After each of the last three stages; a table is a stream of ten features, and has its own embedding."""
    model = mmf.create_model("mmtm", SPEC, **options)
    block = model.encoders.fusions[0]
    assert {int(point) for point in block.join} == points

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        if point not in points:
            return x
        join, gate = block.join[str(point)], block.gate[str(point)]["image0"]
        assert join.out_features == int(2 * (x.shape[1] + 10) / options.get("ratio", 4.0))
        return x * column(2 * torch.sigmoid(gate(torch.relu(join(torch.cat([x.mean((2, 3)), cells], 1))))))

    close(*expected(model, act))


@pytest.mark.slow
@pytest.mark.parametrize(("images", "tables"), [(2, 0), (1, 1), (3, 2)])
def test_embeddings_of_any_modalities(images: int, tables: int) -> None:
    spec = make_spec(images=images, tables=tables)
    model = mmf.create_model("mmtm", spec, dim=8)
    assert tuple(model(make_inputs(spec, 3)).embeddings) == spec.names


def test_single_stream_raises() -> None:
    with pytest.raises(ValueError, match=r"streams gate each other, there is a single one: \['image0'\]"):
        mmf.create_model("mmtm", make_spec(images=1, tables=0))
