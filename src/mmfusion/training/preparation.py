"""Preparation of a model and its loss before the first step, and the check of their values in it."""

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from mmfusion.data.cases import CaseDataset
from mmfusion.losses import Objective
from mmfusion.models.fusion_model import FusionModel
from mmfusion.spec import Classes
from mmfusion.training.model_protocols import Checking
from mmfusion.training.phases import encoders_of
from mmfusion.training.settings import Train


def settle_encoders(model: nn.Module, train: Train) -> None:
    """Freeze what the settings freeze, and trade time for memory where they say so."""
    if train.freeze != "none":
        encoders_of(model).freeze(train.freeze)
    if train.checkpointing:
        encoders_of(model).set_grad_checkpointing(True)


def set_counts(loss: nn.Module, target: str, train: CaseDataset) -> None:
    """Pass the class counts of the training set to losses that weigh classes."""
    kind = loss.targets.get(target) if isinstance(loss, Objective) else None
    if isinstance(loss, Objective) and isinstance(kind, Classes):
        loss.set_counts({target: torch.bincount(train.labels(target), minlength=kind.n)})


def lay_channels_last(model: nn.Module) -> None:
    """Lay the weights of 2D convolutions out channel by channel of each pixel; the maps follow them.

    Not ``model.to(memory_format=...)``, which fails on the weights of 3D convolutions.
    """
    for parameter in model.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def look(*parts: tuple[Any, ...], standardized: Collection[str] = ()) -> None:
    """Let a model and an objective look at the values of a step, where they have a ``check``.

    Raises:
        ValueError: From either of them.
    """
    for part, *arguments in parts:
        if isinstance(part, FusionModel):
            part.check(*arguments, standardized=[name for name in standardized if name in part.images])
        elif isinstance(part, Checking):
            part.check(*arguments)
