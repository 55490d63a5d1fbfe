"""Phases of training and their parameter groups."""

from collections.abc import Iterable

from torch import nn

from mmfusion.models import create_loss
from mmfusion.models.fusion_model import FusionModel
from mmfusion.models.image_encoders import ImageEncoders
from mmfusion.models.phases import ParameterGroup, Phase, Phased, Pretraining
from mmfusion.registry import pretrainings


def phases_of(model: nn.Module) -> list[Phase]:
    """How a model is trained: by its blueprint's loss, after its blueprint's pretraining; or as its ``phases()`` says.

    Args:
        model: A fusion model from a blueprint, or a module with a method ``phases()`` of its own.

    Raises:
        ValueError: If it is neither, or its loss cannot be built.
    """
    if isinstance(model, Phased):
        return list(model.phases())
    loss = create_loss(model)
    choice = model.blueprint.pretraining if isinstance(model, FusionModel) and model.blueprint else None
    if not isinstance(model, FusionModel) or choice is None:
        return [Phase("train", loss, groups(model, loss))]
    pretraining: Pretraining = pretrainings.build(choice, model=model)
    outputs = [part for part in (model.head, model.vectors, model.decision) if part is not None]
    return [
        Phase("pretrain", pretraining.loss, groups(model, pretraining, without=outputs), pretraining),
        Phase("finetune", loss, groups(model, loss)),
    ]


def encoders_of(model: nn.Module) -> ImageEncoders:
    """The image encoders of a model.

    Raises:
        ValueError: If it has none that can be frozen or recomputed stage by stage.
    """
    if not isinstance(model, FusionModel):
        raise ValueError(
            f"{type(model).__name__} has no image encoders in stages: leave train.freeze, train.checkpointing and "
            "train.layer_decay out"
        )
    return model.encoders


def groups(model: nn.Module, *others: nn.Module, without: Iterable[nn.Module] = ()) -> tuple[ParameterGroup, ...]:
    """The parameters of a phase.

    Args:
        model: The model.
        others: What is trained beside it, such as the loss.
        without: Parts that the phase does not train.

    Returns:
        ``"encoder"`` for those of the model's image encoders and ``"fusion"`` for the others, neither of them empty.
    """
    left_out = {id(parameter) for part in without for parameter in part.parameters()}
    backbones = model.encoders.backbones if isinstance(model, FusionModel) else nn.Module()
    of_encoders = {id(parameter) for parameter in backbones.parameters()}
    # By identity: what others hold of the model is trained once.
    trained = {id(p): p for part in (model, *others) for p in part.parameters() if id(p) not in left_out}
    groups = (
        ParameterGroup("encoder", tuple(p for key, p in trained.items() if key in of_encoders)),
        ParameterGroup("fusion", tuple(p for key, p in trained.items() if key not in of_encoders)),
    )
    return tuple(group for group in groups if group.parameters)
