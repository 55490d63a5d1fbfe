import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmfusion.layers.mamba import Mamba, flipped_mamba


def by_hand(mamba: Mamba, tokens: Tensor) -> Tensor:
    """One case, one token and one channel at a time, from the weights alone."""
    w = {name: value.double() for name, value in mamba.state_dict().items()}
    inner, n_states = w["A_log"].shape
    rank, width = w["dt_proj.weight"].shape[1], w["conv1d.weight"].shape[2]

    def silu(x: Tensor) -> Tensor:
        return x / (1 + torch.exp(-x))

    cases = []
    for case in tokens:
        projected = [w["in_proj.weight"] @ token for token in case]
        h, results = torch.zeros(inner, n_states, dtype=torch.float64), []
        for t in range(len(case)):
            u = w["conv1d.bias"].clone()
            for j in range(width):
                if t - j >= 0:
                    u = u + w["conv1d.weight"][:, 0, width - 1 - j] * projected[t - j][:inner]
            u, gate = silu(u), silu(projected[t][inner:])
            mixed = w["x_proj.weight"] @ u
            delta = torch.log1p(torch.exp(w["dt_proj.weight"] @ mixed[:rank] + w["dt_proj.bias"]))
            B, C = mixed[rank : rank + n_states], mixed[rank + n_states :]
            y = torch.empty(inner, dtype=torch.float64)
            for d in range(inner):
                h[d] = torch.exp(-delta[d] * torch.exp(w["A_log"][d])) * h[d] + delta[d] * u[d] * B
                y[d] = torch.dot(h[d], C) + w["D"][d] * u[d]
            results.append(w["out_proj.weight"] @ (y * gate))
        cases.append(torch.stack(results))
    return torch.stack(cases)


OPTIONS: list[dict[str, Any]] = [{}, {"state": 3, "conv": 1, "expand": 1}, {"conv": 2, "dt_rank": 3, "expand": 3}]


@pytest.mark.parametrize("n_tokens", [1, 2, 11])
@pytest.mark.parametrize("options", OPTIONS)
def test_mamba_matches_reference(options: dict[str, Any], n_tokens: int) -> None:
    mamba = Mamba(4, **options).double()
    tokens = torch.randn(2, n_tokens, 4, dtype=torch.float64)
    torch.testing.assert_close(mamba(tokens), by_hand(mamba, tokens), rtol=1e-11, atol=1e-13)


def test_float32_is_close_to_float64() -> None:
    mamba, tokens = Mamba(8), torch.randn(2, 30, 8)
    expected = by_hand(mamba, tokens.double())
    assert (mamba(tokens) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("dim", "rank"), [(1, 1), (16, 1), (17, 2), (128, 8)])
def test_state_dict_matches_mamba_ssm(dim: int, rank: int) -> None:
    """mamba_ssm's names and shapes."""
    inner = 2 * dim
    assert {name: tuple(value.shape) for name, value in Mamba(dim).state_dict().items()} == {
        "A_log": (inner, 16),
        "D": (inner,),
        "in_proj.weight": (2 * inner, dim),
        "conv1d.weight": (inner, 1, 4),
        "conv1d.bias": (inner,),
        "x_proj.weight": (rank + 32, inner),
        "dt_proj.weight": (inner, rank),
        "dt_proj.bias": (inner,),
        "out_proj.weight": (dim, inner),
    }


def test_initial_parameters_match_published() -> None:
    """Decay rates 1 to N; step sizes between a thousandth and a tenth."""
    mamba = Mamba(64, state=5)
    torch.testing.assert_close(mamba.A_log.exp(), torch.arange(1.0, 6).expand(128, 5))
    assert torch.equal(mamba.D, torch.ones(128))
    steps = nn.functional.softplus(mamba.dt_proj.bias)
    assert 0.00099 < steps.min() < 0.002
    assert 0.05 < steps.max() < 0.101
    assert steps.median().log10().item() == pytest.approx(-2, abs=0.4)  # evenly over the logarithm
    bound = 1 / math.sqrt(mamba.dt_proj.in_features)
    assert 0.9 * bound < mamba.dt_proj.weight.abs().max() <= bound


def test_mamba_is_causal() -> None:
    mamba, tokens = Mamba(4), torch.randn(1, 9, 4)
    changed = tokens.clone()
    changed[:, 5] += 1
    difference = (mamba(changed) - mamba(tokens)).abs().amax(-1)[0]
    assert not bool(difference[:5].any())
    assert bool((difference[5:] > 0).all())


def test_every_parameter_gets_gradient() -> None:
    mamba = Mamba(4)
    mamba(torch.randn(2, 9, 4)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in mamba.parameters())


def test_autocast_scans_in_float32() -> None:
    """Projections in half precision, the scan in float32."""
    mamba, tokens = Mamba(8), torch.randn(2, 20, 8)
    expected = mamba(tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mamba(tokens)
    assert found.dtype == torch.bfloat16
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    found.float().square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in mamba.parameters())


@pytest.mark.parametrize("shape", [(9, 4), (2, 9, 5), (2, 0, 4)])
def test_invalid_token_shape_raises(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"tokens must be \(b, n, 4\), n at least 1, got"):
        Mamba(4)(torch.ones(shape))


@pytest.mark.parametrize("options", [{"dim": 0}, {"state": 0}, {"conv": 0}, {"expand": 0}, {"dt_rank": 0}])
def test_invalid_sizes_raise(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sizes must be positive, got "):
        Mamba(**{"dim": 4} | options)


def test_flipped_mamba_matches_loop() -> None:
    """One flip after another, with reversed indices."""
    mamba = Mamba(4).double()
    tokens = torch.randn(3, 7, 4, dtype=torch.float64)
    channels, order = torch.arange(3, -1, -1), torch.arange(6, -1, -1)
    expected = (
        mamba(tokens)
        + mamba(tokens[:, :, channels])[:, :, channels]
        + mamba(tokens[:, order])[:, order]
        + mamba(tokens[:, order][:, :, channels])[:, order][:, :, channels]
    ) / 4
    torch.testing.assert_close(flipped_mamba(mamba, tokens), expected, rtol=1e-12, atol=1e-14)


def test_flips_run_as_one_batch() -> None:
    seen: list[tuple[int, ...]] = []

    class Same(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(tuple(x.shape))
            return x

    tokens = torch.randn(3, 7, 4)
    torch.testing.assert_close(flipped_mamba(Same(), tokens), tokens)
    assert seen == [(12, 7, 4)]


def test_flipped_mamba_is_equivariant_to_flips() -> None:
    """Flipping the tokens flips the result."""
    mamba, tokens = Mamba(4).double(), torch.randn(2, 7, 4, dtype=torch.float64)
    result = flipped_mamba(mamba, tokens)
    for axes in ((1,), (2,), (1, 2)):
        torch.testing.assert_close(flipped_mamba(mamba, tokens.flip(axes)).flip(axes), result)


@pytest.mark.slow
def test_compiles_without_a_graph_break() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mamba = Mamba(4)

        def forward(self, x: Tensor) -> Tensor:
            return flipped_mamba(self.mamba, x)

    layer, x = Layer(), torch.randn(2, 11, 4, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    of = [x, *layer.parameters()]
    results = [(out := one(x), *torch.autograd.grad(out.square().sum(), of)) for one in (layer, compiled)]
    torch.testing.assert_close(results[1], results[0])
