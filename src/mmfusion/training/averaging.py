"""One model in several processes: gradients, parameters and batch statistics that are the same in all of them.

NOTE[DIFF] Gradients are averaged here after the backward pass and not by DistributedDataParallel during it. That
demands a gradient of every parameter in every process, or searches the model's outputs for those without: but where no
case of a share has a modality its encoder has none, a pretraining leaves the head alone, and the objective's own
parameters are behind the outputs. Its reductions would also cross those of the losses' backward pass, which gather the
batch, in an order that differs between processes.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmfusion.training.processes import meeting_place
from mmfusion.utils.process_group import n_processes

Kind = TypeVar("Kind", bound=Tensor)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all processes' gradients; nothing to do in a single one.

    A gradient that some processes do not have is zero there; one that no process has stays None.

    Args:
        parameters: The same, in the same order, in every process.
    """
    if n_processes() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    has_gradient = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.int32)
    has_gradient = has_gradient.to(meeting_place())
    dist.all_reduce(has_gradient)
    shared = [parameter for parameter, n in zip(trained, has_gradient.tolist(), strict=True) if n]
    for group in _by_dtype(shared):
        for parameter in group:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in group if parameter.grad is not None]
        flat = _flat(gradients)
        dist.all_reduce(flat)
        _unflatten(flat / n_processes(), gradients)


@torch.no_grad()
def align(model: nn.Module) -> None:
    """Give every process the main one's parameters and buffers, batch statistics averaged over the processes before.

    Each process normalises by the statistics of its own share, so their running means are means of shares; their mean
    over the processes is that of all cases.

    Args:
        model: In training mode, where it has batch statistics that move.
    """
    if n_processes() == 1:
        return
    moving = [
        statistic
        for part in model.modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.training and part.running_mean is not None
        for statistic in (part.running_mean, part.running_var)
        if statistic is not None
    ]
    for group in _by_dtype(moving):
        flat = _flat(group)
        dist.all_reduce(flat)
        _unflatten(flat / n_processes(), group)
    for group in _by_dtype([*model.parameters(), *model.buffers()]):
        flat = _flat(group)
        # Not every backend sends booleans.
        sent = flat.to(torch.uint8) if flat.dtype == torch.bool else flat
        dist.broadcast(sent, 0)
        _unflatten(sent, group)


def _by_dtype(tensors: Iterable[Kind]) -> list[list[Kind]]:
    """One collective for all tensors of a dtype: each has its price."""
    groups: dict[torch.dtype, list[Kind]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _unflatten(flat: Tensor, into: Sequence[Tensor]) -> None:
    for tensor, piece in zip(into, torch.split(flat, [tensor.numel() for tensor in into]), strict=True):
        tensor.detach().copy_(piece.view(tensor.shape))
