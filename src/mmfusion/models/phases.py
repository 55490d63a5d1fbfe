"""Phases of training: what is minimized, by which parameters, through which forward."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn

from mmfusion.tokens import FusionOutput, Inputs, Present


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
        loss: From :class:`~mmfusion.tokens.LossInputs` to weighted scalars by name; may have ``check()``.
        parameters: What is trained.
        model: What is called in the model's place, where a phase needs another forward, such as one with hidden cells:
            a :class:`Pretraining`, or another module that holds the model and has no parameter beside it, as only a
            pretraining's own parts are stored. It draws from torch's global generators, which the engine seeds for each
            epoch. None: the model itself.
    """

    name: str
    loss: nn.Module
    parameters: tuple[ParameterGroup, ...]
    model: nn.Module | None = None


@runtime_checkable
class Phased(Protocol):
    """A model that says how it is trained."""

    def phases(self) -> Iterable[Phase]:
        """The phases of its training, in order."""


class Pretraining(nn.Module):
    """A phase before the supervised one: another forward of a model, with its loss. A subclass defines :meth:`forward`.

    What it learns beside the model, such as projections and decoders, is kept to resume the phase and not shipped with
    the model's weights.

    Args:
        model: Whose parts are trained.
        loss: What the phase minimizes.
    """

    def __init__(self, model: nn.Module, loss: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """What the loss reads, from the model's parts."""
        raise NotImplementedError("a pretraining defines forward()")  # abstract

    @property
    def row_learners(self) -> list[tuple[str, nn.Module]]:
        """Parts beside the model's that learn from training rows, each with its table modality."""
        return []

    def own_state(self) -> dict[str, Tensor]:
        """The state beside the model's and the loss's."""
        return {name: x for name, x in self.state_dict().items() if not name.startswith(_ELSEWHERE)}

    def load_own_state(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`own_state`.

        Raises:
            RuntimeError: If names or shapes differ.
        """
        elsewhere = {name: x for name, x in self.state_dict().items() if name.startswith(_ELSEWHERE)}
        self.load_state_dict({**elsewhere, **state})


_ELSEWHERE = ("model.", "loss.")
