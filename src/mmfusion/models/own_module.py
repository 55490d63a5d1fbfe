"""A module of one's own in a model's place: its output as the engine reads it, and its loss."""

import inspect
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from mmfusion.losses import Objective
from mmfusion.models.phases import ParameterGroup, Phase, Phased
from mmfusion.models.selective import modalities_of
from mmfusion.registry import models
from mmfusion.spec import DataSpec
from mmfusion.tokens import FusionOutput, Inputs, Present

SUFFIX = ".module"
"""Of the name of a run's model that is a module of one's own."""


class OwnModule(nn.Module):
    """Any module with the forward of a fusion model.

    Args:
        module: Called as ``module(inputs)``, or ``module(inputs, present)`` where it takes two arguments; see
            :mod:`mmfusion.tokens`. It returns logits, shape ``(b, k)``, or a :class:`~mmfusion.tokens.FusionOutput`. It
            may have ``phases()``, see :class:`~mmfusion.models.phases.Phase`; else the loss is cross-entropy.
        spec: What the data are, with a single target.

    Attributes:
        names: Modalities that it reads, in the order of ``spec``: those of its own ``names``, or all.
    """

    def __init__(self, module: nn.Module, spec: DataSpec) -> None:
        super().__init__()
        self.module = module
        self.names = modalities_of(module, spec)
        self._target, self._kind = spec.single_target()
        parameters = inspect.signature(module.forward).parameters.values()
        positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._takes_present = len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)

    def forward(self, inputs: Inputs, present: Present | None = None) -> FusionOutput:
        """The module's output, as a fusion model's.

        Raises:
            ValueError: If it is neither logits of that shape nor a ``FusionOutput``.
        """
        output: Any = self.module(inputs, present) if self._takes_present else self.module(inputs)
        if isinstance(output, FusionOutput):
            return output
        if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] != self._kind.n_out:
            shape = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"{type(self.module).__name__}.forward must return logits of shape (b, {self._kind.n_out}) or a "
                f"FusionOutput, got {shape}"
            )
        return FusionOutput({self._target: output}, {}, {})

    def phases(self) -> Iterable[Phase]:
        """The module's own, or one phase with cross-entropy."""
        if isinstance(self.module, Phased):
            return self.module.phases()
        loss = Objective({self._target: self._kind})
        return [Phase("train", loss, (ParameterGroup("fusion", tuple(self.module.parameters())),))]


class _Given:
    """The builder of a run's module, which no name can build."""

    def __call__(self, spec: DataSpec) -> nn.Module:
        raise ValueError(
            "this run trained a module of one's own, which its folder cannot build: give it, as in "
            "mmfusion.load(folder, model=Module(...))"
        )


models.of_suffix[SUFFIX] = _Given()
