"""The selective scan against a loop over the tokens: time, memory, and the training step that it is made for."""

import argparse
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

import mmfusion as mmf
from mmfusion.layers import mamba
from mmfusion.layers.selective_scan import selective_scan
from speed.timing import DEVICE, in_a_process, medians, peak_mib, spread, verdict

Scan = Callable[..., Tensor]


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser("scan", help="the selective scan against a loop over the tokens")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--states", type=int, default=16)
    parser.add_argument("--length", type=int, default=6144)
    parser.add_argument("--step", action="store_true", help="also CFCML's training step for volumes, a minute or two")
    parser.add_argument("--step-repeats", type=int, default=3)
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--repeats", type=int, default=7)
    parser.set_defaults(function=scan)


def loop_scan(
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
    kernel: str = "torch",
) -> Tensor:
    """:func:`selective_scan`, a token at a time: one fused operator a step on slices that are taken beforehand, and
    one product for all results.
    """
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    decay = torch.exp(delta.permute(2, 0, 1).unsqueeze(-1) * A)
    push = (delta * x).permute(2, 0, 1).unsqueeze(-1) * B.permute(2, 0, 1).unsqueeze(2)
    h, states = torch.zeros_like(decay[0]), []
    for factor, summand in zip(decay.unbind(0), push.unbind(0), strict=True):
        h = torch.addcmul(summand, factor, h)
        states.append(h)
    y = (torch.stack(states) @ C.permute(2, 0, 1).unsqueeze(-1)).squeeze(-1).permute(1, 2, 0)
    if D is not None:
        y = torch.addcmul(y, x, D[:, None])
    return y if z is None else y * F.silu(z)


SCANS: dict[str, Scan] = {"loop over tokens": loop_scan, "selective_scan": selective_scan}


def scan_arguments(b: int, d: int, n: int, length: int, device: str) -> tuple[list[Tensor], Tensor]:
    """x, delta, A, B and C that require gradients, and the gradient at the result."""
    g = torch.Generator().manual_seed(0)
    delta = F.softplus(torch.randn(b, d, length, generator=g) - 3)
    A = -torch.arange(1.0, n + 1).repeat(d, 1)
    x, grad = (torch.randn(b, d, length, generator=g) for _ in range(2))
    B, C = (torch.randn(b, n, length, generator=g) for _ in range(2))
    return [part.to(device).requires_grad_() for part in (x, delta, A, B, C)], grad.to(device)


def scan_growth(name: str, sizes: tuple[int, int, int, int], device: str) -> float:
    """MiB by which the peak grows in forward and backward, beyond the inputs. For a process of its own."""
    small, direction = scan_arguments(1, 2, 2, 9, device)
    torch.autograd.grad(SCANS[name](*small), small, direction)  # what is loaded at the first call is not the scan's
    inputs, grad = scan_arguments(*sizes, device)
    before = peak_mib(device)
    torch.autograd.grad(SCANS[name](*inputs), inputs, grad)
    return peak_mib(device) - before


def scan(options: argparse.Namespace) -> None:
    """Forward and backward of the scan in float32, against the loop: the same numbers first, then time and memory."""
    sizes = (options.batch_size, options.dim, options.states, options.length)
    # First of all: on Linux a process starts with its parent's peak memory as its own.
    grown = {name: in_a_process(scan_growth, name, sizes, options.device) for name in SCANS}
    inputs, grad = scan_arguments(*sizes, options.device)

    def call(name: str) -> tuple[Tensor, ...]:
        y = SCANS[name](*inputs)
        return (y, *torch.autograd.grad(y, inputs, grad))

    for one, other in zip(*(call(name) for name in SCANS), strict=True):
        largest = float(one.detach().abs().max())
        torch.testing.assert_close(other, one, rtol=0, atol=1e-4 * largest)
    seconds = medians({name: lambda name=name: call(name) for name in SCANS}, options.repeats)
    print("b={}, d={}, n={}, l={}; both agree in values and gradients".format(*sizes))
    for name, values in seconds.items():
        print(f"  {name:30s} {spread([s * 1e3 for s in values], '.0f')} ms   {grown[name]:.0f} MiB beyond the inputs")
    ratios = [one / other for one, other in zip(*seconds.values(), strict=True)]
    target = verdict(statistics.median(ratios), at_least=3)
    print(f"  {'loop over scan, pair by pair':30s} {spread(ratios, '.1f')}   {target}")
    memory = grown["selective_scan"] / 1024
    print(f"  {'memory of the scan':30s} {memory:.2f} GiB   {verdict(memory, at_most=0.6)}")
    if options.step:
        peak = in_a_process(volumes_peak, options.device)
        volumes_step(options)
        print(f"  {'peak memory of the process':30s} {peak / 1024:.2f} GiB   {verdict(peak / 1024, at_most=3)}")


@contextmanager
def scanning_with(name: str) -> Iterator[None]:
    """Mamba layers take this scan."""
    before = mamba.selective_scan
    mamba.selective_scan = SCANS[name]
    try:
        yield
    finally:
        mamba.selective_scan = before


def volumes_training_step(device: str) -> Callable[[], None]:
    """CFCML with the published sizes for meningioma: three sequences, an encoder each, six columns, two cases."""
    torch.manual_seed(0)
    size, names, rows = (128, 128, 24), ("t1", "t2", "flair"), 2
    columns = mmf.Columns(numerical=("a", "b", "c"), categorical=(("d", 2), ("e", 3), ("f", 4)))
    spec = mmf.DataSpec({name: mmf.Image(1, size) for name in names} | {"table": columns}, n_classes=3)
    model = mmf.create_model(
        "cfcml", spec, encoder="res_mamba", shared_encoder=False, image_latents=48, table_latents=16
    )
    model = model.train().to(device)
    images = {name: torch.rand(rows, 1, *size).to(device) for name in names}
    table = mmf.Table(torch.randn(rows, 3).to(device), torch.randint(0, 2, (rows, 3)).to(device))
    labels = torch.arange(rows).to(device)

    def step() -> None:
        model.zero_grad()
        output = model({**images, "table": table})
        losses = model.loss(mmf.LossInputs(output.outputs, output.embeddings, {"label": labels}, {}, {}))
        sum(losses.values()).backward()

    return step


def volumes_peak(device: str) -> float:
    """MiB at most, in two steps, of a process of its own."""
    step = volumes_training_step(device)
    step()
    step()
    return peak_mib(device)


def volumes_step(options: argparse.Namespace) -> None:
    """The training step with either scan."""
    step = volumes_training_step(options.device)

    def with_scan(name: str) -> None:
        with scanning_with(name):
            step()

    seconds = medians({name: lambda name=name: with_scan(name) for name in SCANS}, options.step_repeats)
    print("CFCML training step, 2 cases of 3 volumes of 128 x 128 x 24, res_mamba")
    for name, values in seconds.items():
        print(f"  {'with the ' + name:30s} {spread(values)} s")
    ratios = [one / other for one, other in zip(*seconds.values(), strict=True)]
    print(
        f"  {'loop over scan, pair by pair':30s} {spread(ratios)}   {verdict(statistics.median(ratios), at_least=1.8)}"
    )
