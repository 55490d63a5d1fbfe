"""Precision of a computation, whatever the tensors and autocast ask for."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(like: Tensor) -> AbstractContextManager[object]:
    """Autocast off for the device of a tensor: it would cast matrix products back to half precision."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32 if it is in half precision, unchanged otherwise."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def as_bits(x: Tensor) -> Tensor:
    """A float32 tensor as integers of the same bits, for a buffer that must survive the cast of its module.

    ``module.to(torch.bfloat16)`` rounds every buffer of floating point, thresholds and grids too.
    """
    return x.contiguous().view(torch.int32)


def from_bits(x: Tensor) -> Tensor:
    """The inverse of :func:`as_bits`, float32."""
    return x.view(torch.float32)
