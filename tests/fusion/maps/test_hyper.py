import pytest
import torch
from torch import nn

from helpers.map_fusion_cases import CHANNELS, D, built, context_of, linear, maps_of, sites_of
from mmfusion.fusion.maps import HyperConv, MapSites

ROUTES = {"a": "skin"}


@pytest.mark.parametrize("n_axes", [2, 3])
def test_hyper_conv_matches_reference(n_axes: int) -> None:
    """Each case's own convolution at each position, next to the map."""
    block = built(lambda sites: HyperConv(sites, at=(1,), dim=4), ROUTES, n_axes=n_axes)
    maps, context = maps_of(1, ROUTES, n_axes=n_axes), context_of()
    x, made, n = maps["a"].flatten(2), block(maps, context, 1)["a"].flatten(2), CHANNELS[1]
    entry, slope = block.embed["skin"]
    for i, table in enumerate(context.x[:, 0].tolist()):
        embedding = [v if v > 0 else slope.weight.item() * v for v in linear(entry, table)]
        values = linear(block.generate["skin"]["1"], embedding)
        for position in range(x.shape[2]):
            for out in range(n):
                expected = x[i, out, position].item() + values[n * n + out]
                for c in range(n):
                    expected += values[out * n + c] * x[i, c, position].item()
                assert made[i, out, position].item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_hyper_conv_matches_torch_per_case() -> None:
    block = built(lambda sites: HyperConv(sites, at=(2,)), ROUTES, n_axes=3)
    maps, context = maps_of(2, ROUTES, b=5, n_axes=3), context_of(5)
    made, x, n = block(maps, context, 2)["a"], maps["a"], CHANNELS[2]
    values = block.read("skin", 2, context.x[:, 0], None)
    for i in range(5):
        weight, bias = values[i, : n * n].view(n, n, 1, 1, 1), values[i, n * n :]
        expected = x[i : i + 1] + nn.functional.conv3d(x[i : i + 1], weight, bias)
        torch.testing.assert_close(made[i : i + 1], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("c", "dim"), [(64, 8), (32, 16)])
@pytest.mark.parametrize("mean_square", [1.0, 0.25])
def test_generated_weights_have_initial_variance(c: int, dim: int, mean_square: float) -> None:
    """Variance 1 / c for weights, so that the convolution of a map of unit squares has variance 1, and 1 for biases."""
    sites = MapSites(ROUTES, {"a": [(c, 2, 2)] * 2}, d_context=40, mean_square=mean_square)
    g = torch.Generator().manual_seed(0)
    features = torch.randn(512, 40, generator=g) * mean_square**0.5
    variances = []
    for _ in range(8):
        block = HyperConv(sites, at=(0,), dim=dim)
        values = block.read("skin", 0, features, None)
        variances.append(torch.stack([values[:, : c * c].var() * c, values[:, c * c :].var()]))
    found = torch.stack(variances).mean(0)
    # The spread over draws of the embedding's layer is some 10 % of the mean of eight.
    torch.testing.assert_close(found, torch.ones(2), rtol=0.25, atol=0.0)


def test_generates_weights_with_one_product_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[torch.Size] = []
    product = torch.baddbmm

    def counted(*arguments: torch.Tensor) -> torch.Tensor:
        calls.append(arguments[1].shape)
        return product(*arguments)

    monkeypatch.setattr(torch, "baddbmm", counted)
    block = built(lambda sites: HyperConv(sites, at=(1,)), ROUTES)
    block(maps_of(1, ROUTES, b=7), context_of(7), 1)
    assert calls == [(7, 3, 3)]


def test_invalid_options_raise() -> None:
    HyperConv(sites_of(ROUTES), dim=D)
    with pytest.raises(ValueError, match="dim expects int from 1 to 16384, got 0"):
        HyperConv(sites_of(ROUTES), dim=0)
    with pytest.raises(ValueError, match=r"mean_square must be positive, got 0\.0"):
        sites_of(ROUTES, mean_square=0.0)
