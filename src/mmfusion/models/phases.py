"""How a model is trained: one phase, or a pretraining before it."""

from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from mmfusion.tokens import FusionOutput, Inputs, Present

if TYPE_CHECKING:
    from mmfusion.models.model import FusionModel


class ParameterGroup(NamedTuple):
    """Parameters that share a learning rate.

    Attributes:
        name: ``"encoder"`` for the image encoders, ``"fusion"`` for everything else.
        parameters: The parameters.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]


class Phase(NamedTuple):
    """A stretch of training: most methods have one, those that pretrain have two.

    Attributes:
        name: For the log and the checkpoints.
        objective: From :class:`~mmfusion.tokens.LossInputs` to weighted scalars by name; has ``check()``.
        parameters: What is trained.
        model: What is called in the model's place, where a phase needs another forward, such as one with hidden cells.
            It takes ``(inputs, present)`` and returns a :class:`~mmfusion.tokens.FusionOutput` for the objective; it
            holds the model as a submodule and has no parameter or buffer beside it, as only the model's are stored;
            and what it draws comes from torch's global generators, which the loop seeds for each epoch. None: the
            model itself.
    """

    name: str
    objective: nn.Module
    parameters: tuple[ParameterGroup, ...]
    model: nn.Module | None = None


class Pretraining(nn.Module):
    """A phase before the supervised one: what a subclass defines is another forward of a model, and its objective.

    Its parameters, such as projections and decoders, are the model's for as long as it trains, and in its state.

    Args:
        objective: What the phase minimises.
    """

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, model: "FusionModel", inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """What the objective looks at, from the model's parts."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")


class Pretrained(nn.Module):
    """A model in its pretraining, called as it is."""

    def __init__(self, model: "FusionModel") -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        found: FusionOutput = self.model.pretraining(self.model, inputs, present)  # type: ignore[misc]  # there is one
        return found
