"""Checks of tensors that a part is given."""

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Kind: TypeAlias = torch.dtype | Literal["floating point", "numeric"]
"""A dtype, any floating point, or anything but complex numbers."""


def require(what: str, x: object, kind: Kind, *shape: int | str, hint: str = "") -> Tensor:
    """Raise an error about a tensor of another kind or shape.

    Args:
        what: Its name, for the message.
        x: Anything.
        kind: What its numbers are to be.
        shape: The size along each axis. A letter stands for any size, ``"..."`` at the beginning for any axes.
        hint: What the message ends in, such as how to fix it.

    Returns:
        The tensor.

    Raises:
        ValueError: Saying what was expected and what came.
    """
    if isinstance(x, Tensor) and _is_kind(x, kind) and _has_shape(x, shape):
        return x
    expected = ", ".join(map(str, shape)) + "," * (len(shape) == 1)
    got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
    raise ValueError(f"{what} must be {str(kind).removeprefix('torch.')} of shape ({expected}), got {got}{hint}")


def _is_kind(x: Tensor, kind: Kind) -> bool:
    if kind == "floating point":
        return x.is_floating_point()
    return not x.is_complex() if kind == "numeric" else x.dtype == kind


def _has_shape(x: Tensor, shape: tuple[int | str, ...]) -> bool:
    sizes = shape[1:] if shape[0] == "..." else shape
    if x.ndim < len(sizes) or (x.ndim > len(sizes) and shape[0] != "..."):
        return False
    last = x.shape[x.ndim - len(sizes) :]
    return all(isinstance(size, str) or n == size for n, size in zip(last, sizes, strict=True))
