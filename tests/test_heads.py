import pytest
import torch
from torch import nn

from mmfusion import registry
from mmfusion.heads import MLPHead
from mmfusion.spec import Classes, Regression, Survival

TARGETS = {"y": Classes(3), "z": Regression(2), "s": Survival(5)}


def test_mlp_head_matches_published() -> None:
    """Two shared hidden layers with ReLU and dropout; one linear layer per target."""
    head = MLPHead(TARGETS, dim=8, hidden=(6, 5), dropout=0.5).eval()
    kinds = [type(layer) for layer in head.shared]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout] * 2
    x = torch.randn(2, 8)
    hidden = head.shared[0](x).relu()
    hidden = head.shared[3](hidden).relu()
    out = head(x)
    assert {name: tuple(value.shape) for name, value in out.items()} == {"y": (2, 3), "z": (2, 2), "s": (2, 5)}
    for name, value in out.items():
        torch.testing.assert_close(value, head.outputs[name](hidden))


def test_linear_head_has_one_layer_per_target() -> None:
    head = MLPHead(TARGETS, dim=8, hidden=())
    assert sum(p.numel() for p in head.parameters()) == 8 * (3 + 2 + 5) + 3 + 2 + 5


@pytest.mark.parametrize(("hidden", "n_layers"), [((), 0), ((6,), 1)])
def test_rectified_input(hidden: tuple[int, ...], n_layers: int) -> None:
    """Negative values of the embedding have no effect; no additional parameter."""
    plain, head = (MLPHead(TARGETS, dim=4, hidden=hidden, rectify=rectify).eval() for rectify in (False, True))
    head.load_state_dict(plain.state_dict())
    assert len([layer for layer in head.shared if isinstance(layer, nn.Linear)]) == n_layers
    x, kept = torch.tensor([[1.0, -2.0, 0.0, 3.0]]), torch.tensor([[1.0, 0.0, 0.0, 3.0]])
    assert torch.equal(head(x)["y"], plain(kept)["y"])
    assert not torch.equal(head(x)["y"], plain(x)["y"])


def test_normalized_input() -> None:
    """By hand, in double precision; the scale of the input has no effect."""
    head = MLPHead(TARGETS, dim=4, hidden=(), norm=True).double().eval()
    scale, shift = torch.tensor([1.0, -2.0, 0.5, 3.0]).double(), torch.tensor([0.1, 0.2, -0.3, 0.4]).double()
    with torch.no_grad():
        head.shared[0].weight.copy_(scale)
        head.shared[0].bias.copy_(shift)
    x = torch.randn(2, 4).double()
    centred = x - x.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * scale + shift
    expected = normed @ head.outputs["y"].weight.T + head.outputs["y"].bias
    torch.testing.assert_close(head(x)["y"], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(head(1000 * x)["y"], expected, rtol=1e-3, atol=1e-3)
    layers = MLPHead(TARGETS, dim=4, hidden=(5,), norm=True).shared
    assert [type(layer) for layer in layers] == [nn.LayerNorm, nn.Linear, nn.ReLU, nn.Dropout]


def test_dropout_only_in_training() -> None:
    head, x = MLPHead(TARGETS, dim=4, hidden=(64,), dropout=0.5), torch.randn(2, 4)
    assert not torch.equal(head(x)["y"], head(x)["y"])
    head.eval()
    assert torch.equal(head(x)["y"], head(x)["y"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": -1}, "MLPHead: dim expects int from 1 to 16777216, got -1"),
        ({"dim": 1.5}, "MLPHead: dim expects int"),
        ({"dim": "8"}, "MLPHead: dim expects int"),
        ({"dim": 8, "dropout": float("nan")}, "MLPHead: dropout expects float from 0 to below 1, got nan"),
        ({"dim": 0, "hidden": [0]}, "MLPHead: dim expects .*; hidden expects"),
    ],
)
def test_invalid_options_raise(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPHead(TARGETS, **options)


def test_created_by_name() -> None:
    assert isinstance(registry.heads.build("mlp", targets=TARGETS, dim=4), MLPHead)
