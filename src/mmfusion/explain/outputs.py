"""The number that is explained: one per case."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from mmfusion.models import FusionModel
from mmfusion.option_checks import check_fields
from mmfusion.options import OneOf, Range
from mmfusion.spec import Classes
from mmfusion.tokens import FusionOutput, Inputs, Present


@dataclass(frozen=True)
class Output:
    """One of a model's outputs.

    Attributes:
        target: Name of the target; None: the only one.
        index: Class, label, number or interval; None: for each case the largest output, the predicted class.
        unit: ``"log_odds"``: of a class, ``log p / (1 - p)``; what the other targets give is such a number already, or
            has a unit of its own (a regression's), and stays. ``"output"``: the output as it is, of a class its logit.

    Raises:
        ValueError: If the index is negative or the unit unknown.
    """

    target: str | None = None
    index: Annotated[int, Range(0)] | None = None
    unit: Annotated[Literal["log_odds", "output"], OneOf(("log_odds", "output"))] = "log_odds"

    def __post_init__(self) -> None:
        check_fields(self)

    def of(self, model: FusionModel, inputs: Inputs, present: Present | None) -> "Score":
        """The function to explain, for the cases of a batch: the predicted class is that of all inputs.

        Raises:
            ValueError: If the model has no such output, or does not know the kind of its target.
        """
        return self.chosen(model, model(inputs, present))

    def chosen(self, model: FusionModel, output: FusionOutput) -> "Score":
        """As :meth:`of`, from what the model gives for all inputs."""
        names = list(output.outputs)
        if (self.target is None and len(names) != 1) or (self.target is not None and self.target not in names):
            raise ValueError(f"Output expects target=, one of {names}, got {self.target!r}")
        target = self.target or names[0]
        x = output.outputs[target]
        if self.index is not None and self.index >= x.shape[1]:
            raise ValueError(f"{target!r} has the outputs 0 to {x.shape[1] - 1}, got index={self.index}")
        kind = model.spec.targets.get(target) if model.spec is not None else None
        if self.unit == "log_odds" and kind is None:
            raise ValueError(
                f"log odds need the kind of target {target!r}: give FusionModel(..., spec=) or Output(unit='output')"
            )
        classes = self.unit == "log_odds" and isinstance(kind, Classes)
        index = x.argmax(1) if self.index is None else torch.full_like(x[:, 0], self.index, dtype=torch.int64)
        return Score(target, index, classes)


@dataclass(frozen=True)
class Score:
    """An :class:`Output` for the cases of a batch.

    Attributes:
        target: Name of the target.
        index: Shape ``(b,)``.
        classes: Whether log odds of a class are wanted.
    """

    target: str
    index: Tensor
    classes: bool

    def __call__(self, output: FusionOutput) -> Tensor:
        """Shape ``(b,)``; for r times as many cases, each case's r rows one after another, ``(b r,)``."""
        x = output.outputs[self.target]
        index = self.index.repeat_interleave(len(x) // len(self.index)).unsqueeze(1)
        score = x.gather(1, index).squeeze(1)
        if not self.classes:
            return score
        return score - x.scatter(1, index, -torch.inf).logsumexp(1)

    def case(self, i: int) -> "Score":
        """Of one case."""
        return Score(self.target, self.index[i : i + 1], self.classes)
