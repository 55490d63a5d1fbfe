"""Temperature of a contrastive loss, fixed or learned."""

import math

import torch
from torch import Tensor, nn

from mmfusion.option_checks import checked
from mmfusion.options import NotNegative, TemperatureValue
from mmfusion.utils.precision import full_precision


class Temperature(nn.Module):
    """What a cosine similarity is divided by.

    Learned, it is ``minimum + exp(theta)``: positive whatever the optimizer does, and never so small that the loss
    follows the nearest pair alone (CLIP, arXiv 2103.00020, section 2.5, clips at 0.01 for the same reason; NOTE[DIFF] a
    clipped parameter gets no gradient any more, this one always does).

    Args:
        temperature: The temperature, or where it starts.
        learned: Whether it is a parameter.
        minimum: Below the initial one; learned only.

    Raises:
        ValueError: If an option is out of range, or the temperature is not above the minimum of a learned one.
    """

    theta: Tensor | None

    @checked
    def __init__(
        self, temperature: TemperatureValue = 0.07, *, learned: bool = False, minimum: NotNegative = 0.01
    ) -> None:
        super().__init__()
        if learned and not minimum < temperature:
            raise ValueError(f"a learned temperature must start above its minimum of {minimum}, got {temperature}")
        self.initial = temperature
        self.minimum = minimum
        theta = nn.Parameter(torch.tensor(math.log(temperature - minimum))) if learned else None
        self.register_parameter("theta", theta)

    def forward(self) -> float | Tensor:
        """The temperature now: a number, or a scalar tensor if it is learned."""
        return self.initial if self.theta is None else self.minimum + full_precision(self.theta).exp()

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"{self.initial}" if self.theta is None else f"{self.initial}, learned=True, minimum={self.minimum}"
