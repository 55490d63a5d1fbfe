"""The optimizer of a phase, and the learning rate as a pure function of the step.

Nothing about the schedule needs saving: a resumed run computes the same rate from the same step.
"""

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmfusion.training.settings import Train

if TYPE_CHECKING:
    from mmfusion.models.phases import ParameterGroup


def build(
    groups: "Iterable[ParameterGroup]", train: Train, above: Mapping[nn.Parameter, int] | None = None
) -> torch.optim.Optimizer:
    """An optimizer over named groups of parameters.

    The group ``"encoder"`` learns at ``lr * encoder_lr_scale * layer_decay ** above``. With ``adamw``, parameters of
    one axis (biases, normalisations) are not decayed.

    Args:
        groups: The phase's groups; each parameter in one of them.
        train: The settings.
        above: How many stages of its encoder lie above a parameter; None: 0 for all.

    Returns:
        Its groups carry ``base_lr`` for :func:`set_lr`.

    Raises:
        ValueError: If there is nothing to train, or a parameter is in two groups.
    """
    options: list[dict[str, Any]] = []
    seen: set[int] = set()
    for group in groups:
        parameters = [parameter for parameter in group.parameters if parameter.requires_grad]
        identities = {id(parameter) for parameter in parameters}
        if seen & identities or len(identities) < len(parameters):
            raise ValueError(f"each parameter belongs to one group, some of {group.name!r} are listed twice")
        seen |= identities
        alike: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for parameter in parameters:
            lr = train.lr
            if group.name == "encoder":
                lr *= train.encoder_lr_scale * train.layer_decay ** (above or {}).get(parameter, 0)
            alike.setdefault((lr, train.optimizer == "adamw" and parameter.ndim <= 1), []).append(parameter)
        # The highest rate first: the log shows the rate of the first group.
        for (lr, spared), chosen in sorted(alike.items(), key=lambda item: (-item[0][0], item[0][1])):
            decay = 0.0 if spared else train.weight_decay
            options.append({"params": chosen, "lr": lr, "base_lr": lr, "weight_decay": decay})
    if not options:
        raise ValueError("this phase has no parameter to train")
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(options, lr=train.lr)


def factor(step: int, n_steps: int, steps_per_epoch: int, train: Train) -> float:
    """The share of the peak learning rate at one step.

    Args:
        step: From 0, in the phase.
        n_steps: Of the whole phase.
        steps_per_epoch: Steps in an epoch.
        train: The settings.

    Returns:
        In (0, 1]. The warm-up rises linearly from ``1 / warm-up steps`` in the very first step; the schedule starts
        after it. With ``warmup_by="epoch"`` it is 0 in the first epoch, and the schedule starts an epoch later.
    """
    warmup = train.warmup_epochs * steps_per_epoch
    if train.warmup_by == "epoch" and warmup:
        epoch = step // steps_per_epoch
        if epoch <= train.warmup_epochs:
            return epoch / train.warmup_epochs
        warmup = (math.floor(train.warmup_epochs) + 1) * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    if train.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1.0, n_steps - warmup)))
    if train.schedule == "step":
        return float(train.gamma ** math.floor((step - warmup) / steps_per_epoch / train.step_epochs))
    return 1.0


def set_lr(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Give every group ``share`` of its own peak; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share
    return float(optimizer.param_groups[0]["lr"])


def n_parameters(model: nn.Module) -> dict[str, int]:
    """Number of parameters: ``total`` and ``trainable``."""
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return {"total": sum(n for n, _ in counts), "trainable": sum(n for n, trained in counts if trained)}
