"""Batch normalization where the batch has no statistics: a single case whose map has a single position."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")


def normalizing(module: nn.Module) -> list[nn.Module]:
    """The layers of a module that normalize by the statistics of the batch now and keep running ones."""
    return [part for part in module.modules() if part.training and part._buffers.get("running_var") is not None]


def for_one_case(call: Callable[[], Result], module: nn.Module, x: Tensor | int) -> Result:
    """A forward pass in training, which one case alone does not stop.

    The statistics of one case are undefined where its map has a single position. Where the pass fails for that, it is
    repeated with the running statistics, as in evaluation mode, and without gradient checkpointing, which would compute
    it again in the other mode. The running statistics and all other buffers stay what they were before the pass.

    Args:
        call: The pass.
        module: What it runs; its layers of batch normalization are those that change their mode.
        x: The batch, or the number of its cases. Two or more, and what is compiled, run as they are.

    Returns:
        What the call returns.

    Raises:
        ValueError: As the call does, also with the running statistics.
    """
    n = x if isinstance(x, int) else x.shape[0]
    if n != 1 or torch.compiler.is_compiling() or not (layers := normalizing(module)):
        return call()
    # Layers before the one that fails have seen the case by then.
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        return call()
    # Some norms of timm divide by the number of values less one.
    except (ValueError, ZeroDivisionError):
        for buffer, value in before:
            # Without a new version: an earlier pass of this step may have kept it for its backward pass.
            buffer.data.copy_(value)
    with _evaluating(layers), _without_checkpointing(module):
        return call()


@contextmanager
def _evaluating(layers: list[nn.Module]) -> Iterator[None]:
    """Layers in evaluation mode, but not what is inside them, such as dropout.

    The backward pass needs the running statistics as they are now, so it gets copies: a later pass may move them.
    """
    buffers = [(layer, dict(layer._buffers)) for layer in layers]
    for layer, state in buffers:
        layer.training = False
        layer._buffers.update({name: None if value is None else value.clone() for name, value in state.items()})
    try:
        yield
    finally:
        for layer, state in buffers:
            layer.training = True
            layer._buffers.update(state)


@contextmanager
def _without_checkpointing(module: nn.Module) -> Iterator[None]:
    """Activations are kept, whoever would compute them again: a Backbone, or a model of timm."""
    names = ("_recompute", "grad_checkpointing")
    switched = [(part, name) for part in module.modules() for name in names if getattr(part, name, None) is True]
    for part, name in switched:
        setattr(part, name, False)
    try:
        yield
    finally:
        for part, name in switched:
            setattr(part, name, True)
