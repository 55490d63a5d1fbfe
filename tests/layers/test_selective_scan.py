import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mmfusion.layers import selective_scan as module
from mmfusion.layers.selective_scan import selective_scan

NAMES = ("x", "delta", "A", "B", "C", "D", "z", "delta_bias")


def step_by_step(
    x: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> Tensor:
    """The recurrence, a token at a time."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = torch.log(1 + torch.exp(delta))
    h, ys = x.new_zeros(x.shape[0], *A.shape), []
    for t in range(x.shape[2]):
        step = delta[:, :, t, None]
        h = torch.exp(step * A) * h + step * x[:, :, t, None] * B[:, None, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1) + (0 if D is None else D * x[:, :, t]))
    y = torch.stack(ys, -1)
    return y if z is None else y * z / (1 + torch.exp(-z))


def make(b: int, d: int, n: int, length: int, *, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
    """The arguments in the order of ``NAMES``, as a network that starts to learn has them."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    x, z, B, C = randn(b, d, length), randn(b, d, length), randn(b, n, length), randn(b, n, length)
    parts = [x, randn(b, d, length) - 1, -torch.rand(d, n, generator=g).double() * 3, B, C, randn(d), z, randn(d)]
    return [part.to(dtype).requires_grad_() for part in parts]


def run(scan: Any, parts: list[Tensor], **options: Any) -> Tensor:
    out: Tensor = scan(*parts[:7], delta_bias=parts[7], delta_softplus=True, **options)
    return out


def close(found: Tensor, expected: Tensor, share: float) -> None:
    """Within a share of the largest entry."""
    difference = (found.double() - expected.double()).abs().max()
    assert difference <= share * expected.double().abs().max(), float(difference)


# Lengths of one token, below a chunk, primes, squares and one over a square.
LENGTHS = [1, 2, 3, 4, 5, 16, 17, 31, 97]


@pytest.mark.parametrize("cells", [40, 2**16])
@pytest.mark.parametrize("length", LENGTHS)
def test_scan_matches_recurrence(length: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and all gradients, however the channels and the cases are cut into blocks."""
    monkeypatch.setattr(module, "_CELLS", cells)
    parts = make(3, 5, 2, length)
    found, expected = run(selective_scan, parts), run(step_by_step, parts)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    direction = torch.randn_like(expected)
    grads = [torch.autograd.grad(out, parts, direction) for out in (found, expected)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-11)


@pytest.mark.slow
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 30),
    st.tuples(*[st.booleans()] * 4),
    st.integers(0, 10**6),
)
def test_all_options_match_recurrence(b: int, d: int, n: int, length: int, chosen: tuple[bool, ...], seed: int) -> None:
    x, delta, A, B, C, D, z, bias = make(b, d, n, length, seed=seed)
    with_D, with_z, with_bias, softplus = chosen
    options = {"delta_bias": bias if with_bias else None, "delta_softplus": softplus}
    positional = (x, delta, A, B, C, D if with_D else None, z if with_z else None)
    found, expected = selective_scan(*positional, **options), step_by_step(*positional, **options)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * float(expected.detach().abs().max()))


def test_scan_by_hand() -> None:
    """One channel, one state: h = 2, then 2 / e + 3, then twice as long a step."""
    x = torch.tensor([[[2.0, 3.0, 1.0]]], dtype=torch.float64)
    delta = torch.tensor([[[1.0, 1.0, 2.0]]], dtype=torch.float64)
    A, ones = torch.tensor([[-1.0]], dtype=torch.float64), torch.ones(1, 1, 3, dtype=torch.float64)
    y = selective_scan(x, delta, A, ones, 10 * ones, torch.tensor([100.0], dtype=torch.float64))
    e = torch.e
    h = [2, 2 / e + 3, (2 / e + 3) / e**2 + 2]
    assert y.flatten().tolist() == pytest.approx([10 * h[0] + 200, 10 * h[1] + 300, 10 * h[2] + 100], rel=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 5, 12])
def test_gradcheck(length: int) -> None:
    parts = make(2, 3, 2, length)
    assert torch.autograd.gradcheck(lambda *given: run(selective_scan, list(given)), parts)


@pytest.mark.slow
def test_float32_is_close_to_float64() -> None:
    """Against float64: values to 1e-5, gradients to 1e-4 of the largest entry."""
    exact = make(2, 6, 16, 1000)
    rough = [part.detach().float().requires_grad_() for part in exact]
    expected, found = run(step_by_step, exact), run(selective_scan, rough)
    assert found.dtype == torch.float32
    close(found, expected, 1e-5)
    direction = torch.randn(2, 6, 1000, dtype=torch.float64)
    grads = torch.autograd.grad(found, rough, direction.float())
    for one, other in zip(grads, torch.autograd.grad(expected, exact, direction), strict=True):
        close(one, other, 1e-4)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, autocast: bool) -> None:
    """The float32 result of the rounded inputs, rounded once, and gradients in the dtype of the inputs."""
    parts = [part.detach().to(dtype).requires_grad_() for part in make(2, 3, 4, 50)]
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        found = run(selective_scan, parts)
    expected = run(selective_scan, [part.detach().float() for part in parts])
    assert torch.equal(found, expected.to(dtype))
    found.float().sum().backward()
    grads = [part.grad for part in parts if part.grad is not None]
    assert [grad.dtype for grad in grads] == [dtype] * len(parts)
    assert all(bool(grad.isfinite().all()) for grad in grads)


def test_mixed_precision_keeps_dtypes() -> None:
    """Half-precision tokens with float32 weights, as under autocast."""
    parts = make(2, 3, 4, 20, dtype=torch.float32)
    for i in (0, 1, 3, 4, 6):
        parts[i] = parts[i].detach().bfloat16().requires_grad_()
    found = run(selective_scan, parts)
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert [part.grad.dtype for part in parts if part.grad is not None] == [part.dtype for part in parts]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_any_decay_is_finite_and_matches_recurrence(scale: float) -> None:
    """Decay rates near zero and very large: finite, and equal to the recurrence."""
    x, delta, A, B, C, *_ = make(2, 3, 4, 60, dtype=torch.float32)
    delta = F.softplus(delta.detach()).requires_grad_()
    A = (A.detach() * scale).requires_grad_()
    parts = [x, delta, A, B, C]
    found, expected = selective_scan(*parts), step_by_step(*(part.double() for part in parts))
    close(found, expected, 1e-5)
    grads = torch.autograd.grad(found.sum(), parts)
    for one, other in zip(grads, torch.autograd.grad(expected.sum(), parts), strict=True):
        assert bool(one.isfinite().all())
        close(one, other, 1e-4)


def test_overflowing_decay_gives_no_nan() -> None:
    """Steps so long that a chunk's decay overflows while its input is zero: no 0 times infinity."""
    x, delta = torch.zeros(1, 1, 30), torch.full((1, 1, 30), 50.0)
    x[..., -1] = 1
    ones = torch.ones(1, 1, 30)
    y = selective_scan(x, delta, torch.ones(1, 1), ones, ones)
    assert y.flatten().tolist() == [0.0] * 29 + [50.0]


def test_nan_case_does_not_affect_others() -> None:
    parts = make(3, 2, 2, 20)
    clean = run(selective_scan, parts)
    parts[0] = parts[0].detach().clone()
    parts[0][1, 0, 4] = float("nan")
    found = run(selective_scan, parts)
    assert torch.equal(found[[0, 2]], clean[[0, 2]])
    assert torch.equal(found[1, 1], clean[1, 1])
    assert torch.equal(found[1, 0, :4], clean[1, 0, :4])
    assert bool(found[1, 0, 4:].isnan().all())


def test_transposed_inputs_match() -> None:
    """The layout that linear layers give, tokens before channels."""
    parts = make(2, 3, 4, 20)
    flipped = [p.detach().transpose(1, 2).contiguous().transpose(1, 2) if p.ndim == 3 else p.detach() for p in parts]
    flipped = [part.requires_grad_() for part in flipped]
    found, expected = run(selective_scan, flipped), run(selective_scan, parts)
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    grads = [torch.autograd.grad(out.square().sum(), given) for out, given in ((found, flipped), (expected, parts))]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)


def test_empty_batch_has_zero_gradients() -> None:
    parts = make(0, 3, 2, 7)
    found = run(selective_scan, parts)
    assert found.shape == (0, 3, 7)
    found.sum().backward()
    assert torch.equal(parts[2].grad, torch.zeros(3, 2, dtype=torch.float64))


def test_inference_mode_matches_training() -> None:
    parts = make(2, 3, 2, 7)
    expected = run(selective_scan, parts)
    with torch.no_grad():
        found = run(selective_scan, parts)
    assert not found.requires_grad
    assert torch.equal(found, expected)


def test_meta_tensors_give_shapes() -> None:
    parts = [part.detach().to("meta").requires_grad_() for part in make(2, 3, 4, 11, dtype=torch.float32)]
    found = run(selective_scan, parts)
    found.sum().backward()
    assert (found.device.type, found.shape) == ("meta", (2, 3, 11))
    assert all(part.grad.shape == part.shape for part in parts)


def test_backward_does_not_store_all_states() -> None:
    """The backward pass stores a few tensors of size ``b d l``, none of size ``b d n l``."""
    parts, kept = make(2, 4, 16, 300), []

    def keep(x: Tensor) -> Tensor:
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        run(selective_scan, parts).sum().backward()
    assert max(kept) == max(part.numel() for part in parts)
    assert sum(kept) < 2 * 4 * 16 * 300


def test_second_derivative_raises() -> None:
    parts = make(1, 2, 2, 5)
    (slope,) = torch.autograd.grad(run(selective_scan, parts).sum(), parts[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        slope.sum().backward()


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(-torch.rand(3, 2))
        self.delta = nn.Linear(3, 3)
        self.coefficients = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        delta, (B, C) = self.delta(x).transpose(1, 2), self.coefficients(x).transpose(1, 2).chunk(2, 1)
        return selective_scan(x.transpose(1, 2), delta, self.A, B, C, delta_softplus=True).transpose(1, 2)


@pytest.mark.slow
def test_compiles_without_a_graph_break() -> None:
    layer, x = Layer(), torch.randn(2, 11, 3, requires_grad=True)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    of = [x, *layer.parameters()]
    results = [(out := one(x), *torch.autograd.grad(out.square().sum(), of)) for one in (layer, compiled)]
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.slow
def test_exports_for_any_length() -> None:
    layer = Layer()
    sizes = {0: torch.export.Dim("b", min=1), 1: torch.export.Dim("n", min=2, max=1000)}
    program = torch.export.export(layer, (torch.randn(2, 11, 3),), dynamic_shapes={"x": sizes})
    x = torch.randn(4, 30, 3)
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.slow
@pytest.mark.parametrize("transposed", [False, True])
def test_operators_pass_opcheck(transposed: bool) -> None:
    """Shapes and strides among other things, also for tokens before channels."""
    parts = [part.detach() for part in make(2, 3, 2, 7)[:5]]
    if transposed:
        parts = [part.mT.contiguous().mT for part in parts]
    torch.library.opcheck(module._scan, [part.requires_grad_() for part in parts])
    detached = [part.detach() for part in (parts[0], *parts)]
    torch.library.opcheck(module._scan_backward, detached, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": (2, 3)}, r"x must have the shape \(b, d, l\), at least 1 of each, got \(2, 3\)"),
        ({"A": (3,)}, r"A must have the shape \(3, n\), .* got \(3,\)"),
        ({"x": (2, 3, 0)}, r"x must have the shape .* got \(2, 3, 0\)"),
        ({"A": (3, 0)}, r"A must have the shape .* got \(3, 0\)"),
        ({"delta": (2, 7, 3)}, r"delta must have the shape \(2, 3, 7\), .*, got \(2, 7, 3\)"),
        ({"A": (4, 3)}, r"A must have the shape \(3, n\)"),
        ({"B": (2, 7, 4)}, r"B must have the shape \(2, 4, 7\)"),
        ({"C": (1, 4, 7)}, r"C must have the shape \(2, 4, 7\)"),
        ({"D": (2,)}, r"D must have the shape \(3\)"),
        ({"z": (2, 3, 8)}, r"z must have the shape \(2, 3, 7\)"),
        ({"delta_bias": (3, 1)}, r"delta_bias must have the shape \(3\)"),
    ],
)
def test_invalid_shapes_raise(change: dict[str, tuple[int, ...]], message: str) -> None:
    given = dict(zip(NAMES, make(2, 3, 4, 7), strict=True))
    selective_scan(**given)
    with pytest.raises(ValueError, match=message):
        selective_scan(**given | {name: torch.ones(shape) for name, shape in change.items()})


def test_invalid_dtype_and_kernel_raise() -> None:
    given = dict(zip(NAMES, make(2, 3, 4, 7), strict=True))
    with pytest.raises(ValueError, match=r"B must be floating point, got torch\.int64"):
        selective_scan(**given | {"B": torch.ones(2, 4, 7, dtype=torch.int64)})
    with pytest.raises(ValueError, match="kernel must be 'auto' or 'torch', got 'cuda'"):
        selective_scan(**given, kernel="cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mamba_ssm_kernel_receives_arguments(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for mamba_ssm's function, with its order of arguments and the dtypes that it needs."""
    seen: list[tuple[torch.dtype, ...]] = []

    def selective_scan_fn(u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any, z: Any, bias: Any, softplus: Any) -> Any:
        seen.append(tuple(part.dtype for part in (u, delta, A, B, C, D, z, bias)))
        return selective_scan(u, delta, A, B, C, D, z, delta_bias=bias, delta_softplus=softplus, kernel="torch")

    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn
    monkeypatch.setitem(sys.modules, "mamba_ssm", ModuleType("mamba_ssm"))
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops", ModuleType("mamba_ssm.ops"))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    monkeypatch.setattr(module, "_has_kernel", lambda x, A: True)
    parts = make(2, 3, 4, 20, dtype=torch.float32)
    parts[0] = parts[0].to(dtype)
    found = run(selective_scan, parts)
    assert seen == [(dtype, dtype, torch.float32, dtype, dtype, torch.float32, dtype, torch.float32)]
    torch.testing.assert_close(found, run(selective_scan, parts, kernel="torch"), rtol=0.05, atol=0.05)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("installed", "is_cuda", "dtype", "n_states", "expected"),
    [
        (True, True, torch.float32, 16, True),
        (True, True, torch.bfloat16, 256, True),
        (False, True, torch.float32, 16, False),
        (True, False, torch.float32, 16, False),
        (True, True, torch.float64, 16, False),
        (True, True, torch.float32, 257, False),
    ],
)
def test_mamba_ssm_kernel_is_chosen_if_usable(
    installed: bool,
    is_cuda: bool,
    dtype: torch.dtype,
    n_states: int,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object() if installed else None)
    x: Any = SimpleNamespace(is_cuda=is_cuda, dtype=dtype)
    assert module._has_kernel(x, torch.empty(3, n_states)) is expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_gpu_matches_cpu() -> None:
    """The pure PyTorch kernel on the GPU against the CPU."""
    parts = make(2, 6, 16, 1000, dtype=torch.float32)
    there = [part.detach().cuda().requires_grad_() for part in parts]
    direction = torch.randn(2, 6, 1000)
    here, found = run(selective_scan, parts), run(selective_scan, there, kernel="torch")
    close(found.cpu(), here, 1e-5)
    grads = torch.autograd.grad(found, there, direction.cuda())
    for one, other in zip(grads, torch.autograd.grad(here, parts, direction), strict=True):
        close(one.cpu(), other, 1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_mamba_ssm_matches_torch_kernel(dtype: torch.dtype) -> None:
    pytest.importorskip("mamba_ssm", reason="mamba_ssm is not installed")
    parts = [part.detach().cuda().requires_grad_() for part in make(2, 6, 16, 1000, dtype=torch.float32)]
    for i in (0, 1, 3, 4, 6):
        parts[i] = parts[i].detach().to(dtype).requires_grad_()
    share = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]
    assert module._has_kernel(parts[0], parts[2])
    theirs, ours = run(selective_scan, parts), run(selective_scan, parts, kernel="torch")
    assert theirs.dtype == ours.dtype == dtype
    close(theirs, ours, share)
    direction = torch.randn_like(ours)
    for one, other in zip(*(torch.autograd.grad(out, parts, direction) for out in (theirs, ours)), strict=True):
        close(one, other, 10 * share)
