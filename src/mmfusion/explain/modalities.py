"""Contributions of whole modalities: exact Shapley values, whose coalitions are the modalities that a case has.

The value of a coalition S is the model's output with the modalities in S alone; absence is defined, so there is no
baseline. A modality that a case lacks changes no coalition's value and contributes exactly 0.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmfusion.explain.games import coalitions, interactions, shapley_values
from mmfusion.explain.outputs import Output, Score
from mmfusion.explain.undisturbed import plain, undisturbed
from mmfusion.models import FusionModel
from mmfusion.models.bags import without_empty
from mmfusion.tokens import Inputs, Maps, Present

MOST = 6
"""Modalities whose coalitions are enumerated, 64."""


class ModalityContributions(NamedTuple):
    """What the modalities add to an output, float64; ``bias + sum of values = output``.

    Attributes:
        names: The modalities.
        bias: The output without any modality, shape ``(b,)``.
        output: With all that a case has, shape ``(b,)``.
        values: Shapley values, shape ``(b, m)``.
        interactions: Shapley interaction index of each pair, shape ``(b, m, m)``. Values contain it: it is 0 where the
            output of two modalities is the sum of what each gives, and is not to be added to them.
    """

    names: tuple[str, ...]
    bias: Tensor
    output: Tensor
    values: Tensor
    interactions: Tensor

    def mean_interaction(self, *, absolute: bool = False) -> Tensor:
        """Of each pair over the cases, signed or absolute, shape ``(m, m)``."""
        return (self.interactions.abs() if absolute else self.interactions).mean(0)


def modality_contributions(
    model: FusionModel,
    inputs: Inputs,
    present: Present | None = None,
    *,
    output: Output = Output(),  # noqa: B008  # immutable
) -> ModalityContributions:
    """Exact Shapley values of a model's modalities, for each case of a batch.

    Images are encoded once, unless map fusions act inside the encoders; then once per coalition.

    Args:
        model: A fusion model of at most six modalities, in any mode.
        inputs: As the model's.
        present: As the model's.
        output: What is explained.

    Returns:
        Contributions in the output's unit.

    Raises:
        ValueError: If there are more modalities.
    """
    game, _ = modality_game(model, inputs, present, output)
    return ModalityContributions(model.names, game[:, 0], game[:, -1], shapley_values(game), interactions(game))


def modality_game(model: FusionModel, inputs: Inputs, present: Present | None, output: Output) -> tuple[Tensor, Score]:
    """The output with each coalition of the modalities, shape ``(b, 2**m)`` float64, and what it is."""
    n = len(model.names)
    if n > MOST:
        raise ValueError(f"all coalitions of at most {MOST} modalities are tried, the model has {n}: {model.names}")
    inputs = plain(inputs)
    with undisturbed(model):
        whole = model(inputs, present)
        score = output.chosen(model, whole)
        encoded: dict[str, Maps] = {}
        if model.reads_maps:
            pixels = {name: x for name, x in inputs.items() if name in model.images and not isinstance(x, Maps)}
            encoded = model.encode(pixels, present)
        every = torch.ones_like(score.index, dtype=torch.bool)
        known = without_empty(inputs, present or {})
        has = {name: known.get(name, every) for name in model.names}
        values = []
        for members in coalitions(n).tolist():
            some = {name: mask & member for (name, mask), member in zip(has.items(), members, strict=True)}
            values.append(score(model({**inputs, **encoded}, some)).double())
    return torch.stack(values, 1), score
