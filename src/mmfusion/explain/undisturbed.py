"""A model in evaluation, left as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmfusion.tokens import Bag, Content, Inputs, Maps, Present, Table


@contextmanager
def undisturbed(model: nn.Module, *, gradients: bool = False) -> Iterator[None]:
    """Evaluation mode, full precision, and gradients on request, whatever the caller's contexts.

    Modes of all parts and states of the random generators come back; nothing is added to any ``.grad``.

    Args:
        model: Whose parts are brought to evaluation mode.
        gradients: Whether a graph is recorded, under ``torch.no_grad`` and ``torch.inference_mode`` too.
    """
    modes = [(part, part.training) for part in model.modules()]
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with (
        torch.inference_mode(False),
        torch.set_grad_enabled(gradients),
        torch.autocast(device.type, enabled=False),
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
    ):
        try:
            for part, _ in modes:
                part.training = False  # .train() would be remembered by frozen encoders
            yield
        finally:
            for part, mode in modes:
                part.training = mode


def plain(inputs: Inputs) -> dict[str, Content]:
    """The same numbers outside any graph and any inference mode."""
    return {name: _each(content, _plain) for name, content in inputs.items()}


def plain_present(present: Present | None) -> dict[str, Tensor]:
    """The same presence outside any inference mode."""
    return {name: _plain(mask) for name, mask in (present or {}).items()}


def rows_of(inputs: Inputs, index: Tensor) -> dict[str, Content]:
    """Those cases of a batch, shape ``(r,)`` int64, in that order; one may come several times."""
    return {name: _each(content, lambda x: x.index_select(0, index)) for name, content in inputs.items()}


def _plain(x: Tensor) -> Tensor:
    with torch.inference_mode(False):  # else the copy of an inference tensor is one, too
        return x.clone() if x.is_inference() else x.detach()


def _each(content: Content, act: Callable[[Tensor], Tensor]) -> Content:
    if isinstance(content, Table):
        return Table(act(content.numerical), act(content.categorical))
    if isinstance(content, Bag):
        return Bag(act(content.x), act(content.mask))
    if isinstance(content, Maps):
        return Maps(tuple(act(stage) for stage in content.stages))
    return act(content)
