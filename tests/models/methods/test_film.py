from typing import Any

import pytest
from torch import Tensor, nn

import mmfusion as mmf
from helpers.map_fusion_by_hand import SPEC, close, column, expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "points", "widths", "offset"),
    [
        ({}, {1, 2, 3, 4}, (), 1),
        ({"n_stages": 2}, {1, 2}, (), 1),
        ({"table_hidden": (6,)}, {1, 2, 3, 4}, (6,), 1),
        ({"variant": "poelsterl"}, {3}, (7,), 0),
        ({"variant": "poelsterl", "at": (0, -1), "table_hidden": (5, 4)}, {0, 4}, (5, 4), 0),
    ],
)
def test_prediction_matches_reference(
    options: dict[str, Any], points: set[int], widths: tuple[int, ...], offset: int
) -> None:
    """``(1 + gamma) * map + beta`` behind each stage, or ``gamma * map + beta`` before the last, without biases."""
    model = mmf.create_model("film", SPEC, **options)
    generate = model.encoders.fusions[0].generate["image0"]
    assert {int(point) for point in generate} == points

    def act(point: int, x: Tensor, cells: Tensor) -> Tensor:
        if point not in points:
            return x
        layers = generate[str(point)]
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        assert tuple(layer.out_features for layer in linear) == (*widths, 2 * x.shape[1])
        assert all((layer.bias is None) == (offset == 0) for layer in linear)
        gamma, beta = layers(cells).chunk(2, 1)
        return (offset + column(gamma)) * x + column(beta)

    close(*expected(model, act))


@pytest.mark.slow
def test_norm_option_reaches_fusion() -> None:
    assert mmf.create_model("film", SPEC, norm=True).encoders.fusions[0].norm
    assert not mmf.create_model("film", SPEC).encoders.fusions[0].norm


def test_unknown_variant_raises() -> None:
    with pytest.raises(ValueError, match="variant expects one of perez, poelsterl, got 'daft'"):
        mmf.create_model("film", SPEC, variant="daft")
