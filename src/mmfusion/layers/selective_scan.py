"""The selective scan of Mamba, in chunks that run side by side.

Letters of this file: b batch, d channels, n states a channel, l length.
"""

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

# Numbers in one working tensor. On a CPU: as many as an operator still takes in one thread. With more, thousands of
# small operators each wait for all threads: half as fast again on idle cores, but many times slower on busy ones. On
# a GPU a step is a launch, and few are wanted.
_CELLS = 2**15 - 1
_CELLS_ELSEWHERE = 2**19


def selective_scan(
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
    kernel: str = "auto",
) -> Tensor:
    """The state-space recurrence whose coefficients depend on the input (Mamba, arXiv 2312.00752, S6, algorithm 2).

    For every channel, from ``h_0 = 0``::

        h_t = exp(delta_t A) h_{t-1} + delta_t B_t x_t
        y_t = (C_t . h_t + D x_t) silu(z_t)

    The length is cut into about ``sqrt(l)`` chunks. All chunks take their steps at the same time, each from zero;
    the states that enter them follow from the chunks' decays; then all run again from there. Nothing is divided by a
    decay, so any ``delta A`` is safe, and nothing of size ``d n l`` is kept for the backward pass, which runs the
    states again.

    Half precision is computed in float32, inside or outside autocast. There is no second derivative.

    Args:
        x: Shape ``(b, d, l)``.
        delta: Step sizes, shape ``(b, d, l)``.
        A: Shape ``(d, n)``; negative for a state that fades.
        B: Shape ``(b, n, l)``.
        C: Shape ``(b, n, l)``.
        D: Weight of the input itself, shape ``(d,)``; None is 0.
        z: Gate, shape ``(b, d, l)``; None leaves the result as it is.
        delta_bias: Added to the step sizes, shape ``(d,)``.
        delta_softplus: Pass the step sizes through softplus, after the bias.
        kernel: ``"auto"`` takes the kernel of the package mamba_ssm for tensors on a CUDA device where that package
            is installed, ``"torch"`` never does.

    Returns:
        Shape ``(b, d, l)``, in the dtype of ``x``.

    Raises:
        ValueError: If a shape, a dtype or the kernel's name is wrong.
    """
    _check(x=x, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias)
    if kernel not in ("auto", "torch"):
        raise ValueError(f"kernel must be 'auto' or 'torch', got {kernel!r}")
    if kernel == "auto" and _has_kernel(x, A):
        module = importlib.import_module("mamba_ssm.ops.selective_scan_interface")
        # It wants what varies along the length in one dtype, and the rest in float32.
        along = [None if part is None else part.to(x.dtype) for part in (delta, B, C, z)]
        across = [None if part is None else part.float() for part in (A, D, delta_bias)]
        scanned: Tensor = module.selective_scan_fn(
            x, along[0], across[0], along[1], along[2], across[1], along[3], across[2], delta_softplus
        )
        return scanned
    dtype = torch.promote_types(x.dtype, torch.float32)
    u, step = x.to(dtype), delta.to(dtype)
    if delta_bias is not None:
        step = step + delta_bias.to(dtype).unsqueeze(-1)
    if delta_softplus:
        # Contiguous: the gradient of softplus at a transposed tensor has other strides than a compiler believes.
        step = F.softplus(step.contiguous())
    y: Tensor = _scan(u, step, A.to(dtype), B.to(dtype), C.to(dtype))
    if D is not None:
        y = torch.addcmul(y, u, D.to(dtype).unsqueeze(-1))
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(x.dtype)


_AXES = {"x": "bdl", "delta": "bdl", "A": "dn", "B": "bnl", "C": "bnl", "D": "d", "z": "bdl", "delta_bias": "d"}
"""The axes of each tensor: batch, channels, states, length."""


def _check(**given: Tensor | None) -> None:
    sizes: dict[str, int] = {}
    for name, value in given.items():
        if value is None:
            continue
        if not value.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {value.dtype}")
        along = dict(zip(_AXES[name], value.shape, strict=False))
        fits = value.ndim == len(along) == len(_AXES[name]) and all(n or axis == "b" for axis, n in along.items())
        if not fits or any(sizes.setdefault(axis, n) != n for axis, n in along.items()):
            expected = ", ".join(str(sizes.get(axis, axis)) for axis in _AXES[name])
            raise ValueError(f"{name} must have the shape ({expected}), at least 1 of each, got {tuple(value.shape)}")


def _has_kernel(x: Tensor, A: Tensor) -> bool:
    """Whether mamba_ssm's kernel can take them: no float64, at most 256 states; a compiler cannot look into it."""
    return (
        x.is_cuda
        and x.dtype != torch.float64
        and A.shape[1] <= 256
        and not torch.compiler.is_compiling()
        and importlib.util.find_spec("mamba_ssm") is not None
    )


# An operator of its own: a compiler or an exporter sees one node instead of some thousand steps.
@torch.library.custom_op("mmfusion::selective_scan", mutates_args=())
def _scan(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """``y_t = C_t . h_t``, all in one floating point dtype."""
    n_steps, n_chunks = _chunks(x.shape[2])
    push, dt, B_, C_ = (_cut(part, n_steps, n_chunks) for part in (delta * x, delta, B, C))
    y, whole = torch.empty_like(push), dt.sum(0)
    cases, channels, shape = _blocks(push, A)
    decay = x.new_empty(shape)
    for b in cases:
        bs, cs = B_[:, :, None, b].unbind(0), C_[:, :, None, b].unbind(0)
        for d in channels:
            block = _Block(dt[:, d, b], whole[d, b], push[:, d, b], A[d], bs, decay)
            h = block.entering_states()
            scaled = torch.empty_like(h)
            for t, out in enumerate(y[:, d, b].unbind(0)):
                h.mul_(block.decay[t]).addcmul_(block.push[t], bs[t])
                torch.sum(torch.mul(h, cs[t], out=scaled), 0, out=out)
    return _joined(y, x.shape[2])


@torch.library.custom_op("mmfusion::selective_scan_backward", mutates_args=())
def _scan_backward(
    grad: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of :func:`_scan` for its five inputs.

    With ``g_t`` the gradient at ``h_t``: ``g_t = C_t grad_t + exp(delta_{t+1} A) g_{t+1}``, which is the same
    recurrence from the other end.
    """
    n_steps, n_chunks = _chunks(x.shape[2])
    push, dt, B_, C_, grad_ = (_cut(part, n_steps, n_chunks) for part in (delta * x, delta, B, C, grad))
    grad_push, grad_dt, grad_A = torch.empty_like(push), torch.empty_like(dt), A.new_zeros(A.shape)
    grad_B, grad_C, whole = torch.zeros_like(B_), torch.zeros_like(C_), dt.sum(0)
    cases, channels, shape = _blocks(push, A)
    decay, room = x.new_empty(shape), x.new_empty(shape)
    for b in cases:
        bs, cs = B_[:, :, None, b].unbind(0), C_[:, :, None, b].unbind(0)
        to_bs, to_cs = grad_B[:, :, b].unbind(0), grad_C[:, :, b].unbind(0)
        for d in channels:
            block = _Block(dt[:, d, b], whole[d, b], push[:, d, b], A[d], bs, decay)
            ys, to_push, to_dt = (part[:, d, b].unbind(0) for part in (grad_, grad_push, grad_dt))
            entering = block.entering_states()
            states = _fitting(room, entering)
            scaled, before = torch.empty_like(entering), entering
            for t, h in enumerate(states):
                torch.mul(before, block.decay[t], out=h).addcmul_(block.push[t], bs[t])
                to_cs[t].add_(torch.mul(h, ys[t], out=scaled).sum(1))
                before = h
            g = block.leaving_gradients(ys, cs)
            at_decay = torch.zeros_like(g)
            for t in reversed(range(n_steps)):
                g.addcmul_(ys[t], cs[t])
                to_bs[t].add_(torch.mul(g, block.push[t], out=scaled).sum(1))
                torch.sum(torch.mul(g, bs[t], out=scaled), 0, out=to_push[t])
                g.mul_(block.decay[t])
                exponent = torch.mul(g, states[t - 1] if t else entering, out=scaled)  # the gradient at delta_t A
                at_decay.addcmul_(exponent, block.dt[t])
                torch.sum(exponent.mul_(block.A), 0, out=to_dt[t])
            grad_A[d] += at_decay.sum((2, 3)).t()
    of_push, of_dt, of_B, of_C = (_joined(part, x.shape[2]) for part in (grad_push, grad_dt, grad_B, grad_C))
    # In place: the results are contiguous then, as the shapes-only version says, whatever the inputs are.
    of_dt.addcmul_(of_push, x)
    return of_push.mul_(delta), of_dt, grad_A, of_B, of_C


@_scan.register_fake
def _(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@_scan_backward.register_fake
def _(
    grad: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    of_x, of_delta, of_A, of_B, of_C = (part.new_empty(part.shape) for part in (x, delta, A, B, C))
    return of_x, of_delta, of_A, of_B, of_C


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = _scan_backward(grad, *ctx.saved_tensors)
    return gradients


def _refuse(ctx: Any, *grads: Tensor) -> None:
    # No loss or method takes second derivatives.
    raise NotImplementedError("selective_scan has no second derivative: take gradients without create_graph")


_scan.register_autograd(_gradients, setup_context=_keep)
_scan_backward.register_autograd(_refuse)


class _Block:
    """Some channels of some cases: small enough that a working tensor, ``(n, d, b, n_chunks)``, stays in the caches.

    The innermost axis is the chunks: B and C, which all channels share, are then spread along an outer axis, and
    every step runs over long contiguous rows.

    Args:
        dt: Step sizes, shape ``(n_steps, d, b, n_chunks)``.
        whole: Their sum over a chunk, shape ``(d, b, n_chunks)``.
        push: ``delta x``, the shape of ``dt``.
        A: Shape ``(d, n)``.
        bs: B at every step, shape ``(n, 1, b, n_chunks)`` each.
        room: Where ``exp(delta A)`` is written, at least ``(n_steps, n, d, b, n_chunks)``.
    """

    def __init__(self, dt: Tensor, whole: Tensor, push: Tensor, A: Tensor, bs: Sequence[Tensor], room: Tensor) -> None:
        self.A = A.t()[:, :, None, None]
        self.A2 = self.A / math.log(2)  # for exp2: on a CPU, exp takes almost three times as long
        self.dt = dt.unbind(0)
        self.push = push.unbind(0)
        self.bs = bs
        # A chunk's whole decay. Clamped, because an infinite one would make NaN of a state of 0.
        self.whole = (whole * self.A2).exp2_().clamp_(max=torch.finfo(dt.dtype).max)
        self.decay = _fitting(room, self.whole)

    def entering_states(self) -> Tensor:
        """The state before the first step of every chunk, shape ``(n, d, b, n_chunks)``; fills ``decay``."""
        h = torch.zeros_like(self.whole)
        for dt, push, b, decay in zip(self.dt, self.push, self.bs, self.decay, strict=True):
            torch.mul(dt, self.A2, out=decay).exp2_()
            h.mul_(decay).addcmul_(push, b)
        return _carried(self.whole, h)

    def leaving_gradients(self, grads: Sequence[Tensor], cs: Sequence[Tensor]) -> Tensor:
        """The gradient that the later chunks send to the last state of every chunk, the same shape."""
        g = torch.zeros_like(self.whole)
        for grad, c, decay in zip(reversed(grads), reversed(cs), reversed(self.decay), strict=True):
            g.addcmul_(grad, c).mul_(decay)
        return _carried(self.whole.flip(-1), g.flip(-1)).flip(-1)


def _carried(whole: Tensor, part_sum: Tensor) -> Tensor:
    """What enters each chunk: 0, then the chunk before's own result plus its decay of what entered it."""
    wholes, owns = (part.movedim(-1, 0).contiguous() for part in (whole, part_sum))
    entering = torch.zeros_like(owns)
    rows = entering.unbind(0)
    for summand, factor, before, after in zip(owns.unbind(0), wholes.unbind(0), rows, rows[1:], strict=False):
        torch.addcmul(summand, factor, before, out=after)
    return entering.movedim(0, -1).contiguous()


def _chunks(length: int) -> tuple[int, int]:
    """Steps in a chunk and number of chunks: about as many of one as of the other."""
    n_steps = max(1, round(math.sqrt(length)))
    return n_steps, -(-length // n_steps)


def _cut(x: Tensor, n_steps: int, n_chunks: int) -> Tensor:
    """From ``(b, k, l)`` to ``(n_steps, k, b, n_chunks)``. The rest of the last chunk is 0, where a state stays."""
    padded = F.pad(x, (0, n_steps * n_chunks - x.shape[2]))
    return rearrange(padded, "b k (chunks steps) -> steps k b chunks", steps=n_steps).contiguous()


def _joined(x: Tensor, length: int) -> Tensor:
    """Back from ``(n_steps, k, b, n_chunks)`` to ``(b, k, l)``."""
    return rearrange(x, "steps k b chunks -> b k (chunks steps)")[:, :, :length].contiguous()


def _blocks(push: Tensor, A: Tensor) -> tuple[list[slice], list[slice], tuple[int, ...]]:
    """Slices of the cases and of the channels, and the shape of a state at every step of the largest block."""
    (n_steps, d, b, n_chunks), n = push.shape, A.shape[1]
    cells = _CELLS if push.device.type == "cpu" else _CELLS_ELSEWHERE
    n_cases = max(1, min(b, cells // (n * n_chunks)))
    n_channels = max(1, min(d, cells // (n * n_chunks * n_cases)))
    cases = [slice(i, i + n_cases) for i in range(0, b, n_cases)]
    channels = [slice(i, i + n_channels) for i in range(0, d, n_channels)]
    return cases, channels, (n_steps, n, n_channels, n_cases, n_chunks)


def _fitting(room: Tensor, like: Tensor) -> tuple[Tensor, ...]:
    """A view a step of the room, each of the shape of ``like``; the last block may be smaller than the room."""
    return room[:, :, : like.shape[1], : like.shape[2]].unbind(0)
