"""Fixes that keep the losses of pytorch-metric-learning (PML) defined and reproducible."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmfusion.losses.functional import clamp_value


def parts_of(function: nn.Module, *names: str) -> list[Any]:
    """The modules in a loss, itself included, that are of one of these classes of PML."""
    room = importlib.import_module("pytorch_metric_learning.losses")
    kinds = tuple(getattr(room, name) for name in names)
    return [part for part in function.modules() if isinstance(part, kinds)]


@contextmanager
def stabilized(function: nn.Module, x: Tensor, *, remember: bool) -> Iterator[None]:
    """Distances kept where the losses are defined, and memories kept from autograd; restored unless to remember."""
    step = torch.finfo(x.dtype).eps
    limits = {
        ("TupletMarginLoss", "LargeMarginSoftmaxLoss"): (step - 1, 1 - step),
        ("HistogramLoss",): (-1.0, 1 - 1e-6),
        ("DynamicSoftMarginLoss",): (0.0, 2.0),
    }
    hooks = [
        part.distance.register_forward_hook(lambda _module, _inputs, out, limit=limit: clamp_value(out, *limit))
        for names, limit in limits.items()
        for part in parts_of(function, *names)
    ]
    memories, histories = parts_of(function, "CrossBatchMemory"), parts_of(function, "DynamicSoftMarginLoss")
    state = ("embedding_memory", "label_memory", "has_been_filled", "queue_idx", "hist_")
    before = [
        (part, name, getattr(part, name)) for part in memories + histories for name in state if hasattr(part, name)
    ]
    for memory in memories:
        # Copies: what autograd keeps for the backward pass must not be written over by the next batch.
        memory.embedding_memory = memory.embedding_memory.to(x, copy=True)
        memory.label_memory = memory.label_memory.to(x.device, copy=True)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for history in histories:
            history.hist_ = history.hist_.detach()
        for part, name, value in before if not remember else ():
            setattr(part, name, value)


def one_and_memory(memory: Any, x: Tensor, labels: Tensor) -> Tensor:
    """``CrossBatchMemory`` of a single row.

    PML finds a row in the memory by the order of a batch's first and last position, which are one here.
    """
    n = memory.memory_size if memory.has_been_filled else memory.queue_idx
    past, past_labels = memory.embedding_memory[:n].clone(), memory.label_memory[:n].clone()
    memory.add_to_memory(x, labels, 1)
    if n == 0:
        return (x * 0).sum()
    mined = None if memory.miner is None else memory.miner(x, labels, past, past_labels)
    value: Tensor = memory.loss(x, labels, mined, past, past_labels)
    return value


class Positions(nn.Module):
    """The positions of the memories' queues, for the state dict: PML keeps them as plain numbers."""

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self._memories = tuple(parts_of(function, "CrossBatchMemory"))  # a tuple: they are modules of the loss already

    def get_extra_state(self) -> Tensor:
        return torch.tensor([[memory.queue_idx, memory.has_been_filled] for memory in self._memories])

    def set_extra_state(self, state: Tensor) -> None:
        for memory, (position, filled) in zip(self._memories, state.tolist(), strict=True):
            memory.queue_idx, memory.has_been_filled = position, bool(filled)


def make_history(part: Any) -> None:
    """Make the histogram a buffer, with bins up to the largest difference of distances, 2."""
    if "hist_" in dict(part.named_buffers(recurse=False)):
        return
    history = torch.zeros(max(part.num_bins, int((2 - part.min_val) / part.delta) + 2))
    history[: part.num_bins] = part.hist_.detach()
    del part.hist_
    part.register_buffer("hist_", history)
