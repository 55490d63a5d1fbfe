"""Weights of the terms that move while training goes on.

A constant is a number, and a :class:`Schedule` takes its place for one loss. :class:`UncertaintyWeighting` and
:class:`GradNormWeighting` find the weights of all terms of a bank, starting from the given ones.
"""

import math
from collections.abc import Collection, Mapping
from typing import Annotated, TypeAlias

import torch
from torch import Tensor, nn

from mmfusion.option_checks import checked
from mmfusion.options import LossWeight, Name, NotNegative, OneOf, Probability, Range
from mmfusion.registry import weightings
from mmfusion.utils.precision import full_precision

Steps: TypeAlias = Annotated[int, Range(1, 10**9)]
"""Batches from one weight to another."""
Delay: TypeAlias = Annotated[int, Range(0, 10**9)]
"""Batches before a weight begins to move."""
Shape: TypeAlias = Annotated[str, OneOf(("linear", "cosine"))]
"""How a weight goes from one value to another."""


class Schedule(nn.Module):
    """A weight that goes from one value to another and then stays.

    It counts the batches that it has seen in training mode; the count is part of the state dict.

    Args:
        start: Before and at the beginning, not negative.
        end: Afterwards, not negative.
        steps: Batches from the one to the other, at least 1.
        delay: Batches before it begins.
        shape: ``"linear"``, or ``"cosine"`` for half a wave, flat at both ends.

    Raises:
        ValueError: If an option is out of range.
    """

    @checked
    def __init__(
        self, *, start: LossWeight, end: LossWeight, steps: Steps, delay: Delay = 0, shape: Shape = "linear"
    ) -> None:
        super().__init__()
        self.start, self.end, self.steps, self.delay, self.shape = float(start), float(end), steps, delay, shape
        self.step = nn.Buffer(torch.zeros((), dtype=torch.int64))

    def forward(self) -> Tensor:
        """The weight of this batch, a scalar; the next call in training mode is the next batch."""
        done = ((self.step - self.delay) / self.steps).clamp(0, 1)
        if self.shape == "cosine":
            done = (1 - torch.cos(math.pi * done)) / 2
        weight = self.start + (self.end - self.start) * done
        if self.training:
            # Out of place: a caller may still hold what this weight was computed from.
            self.step.copy_(self.step + 1)
        return weight

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"{self.start}, {self.end}, steps={self.steps}, delay={self.delay}, shape={self.shape!r}"


class Weighting(nn.Module):
    """Finds the weights of all terms of a bank."""

    def bind(self, weights: Mapping[str, float]) -> None:
        """Told by the bank, once: the terms and the weights to start from."""
        raise NotImplementedError(f"{type(self).__name__} must define bind()")  # abstract

    def forward(self, values: Mapping[str, Tensor], embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms, to be summed, from their values and the embeddings that these were computed from."""
        raise NotImplementedError(f"{type(self).__name__} must define forward()")  # abstract

    def weights(self) -> dict[str, Tensor]:
        """The weights now, detached, for the log."""
        raise NotImplementedError(f"{type(self).__name__} must define weights()")  # abstract


@weightings.register("constant")
def constant() -> None:
    """The weights stay as given."""


@weightings.register("uncertainty")
class UncertaintyWeighting(Weighting):
    """A learned variance for each term (Kendall, Gal and Cipolla, CVPR 2018, arXiv 1705.07115, equations 7 and 10).

    ``exp(-s) L + s / 2`` with the parameter ``s = log sigma^2``; for a regression ``exp(-s) L / 2 + s / 2``. The
    weights start at the given ones. The part ``s / 2`` keeps them from falling to 0; it makes a term's share of the
    total negative where its variance is below 1.

    Args:
        regressions: Names of the terms that are squared errors, with the factor 1/2.
    """

    def __init__(self, *, regressions: Collection[Name] = ()) -> None:
        super().__init__()
        self.regressions = frozenset(regressions)
        self.names: tuple[str, ...] = ()

    def bind(self, weights: Mapping[str, float]) -> None:
        """The terms and where their weights start.

        Raises:
            ValueError: If a regression is not among the terms.
        """
        if unknown := sorted(self.regressions - set(weights)):
            raise ValueError(f"regressions names {unknown}, the terms are {sorted(weights)}")
        self.names = tuple(weights)
        halves = self._halves()
        self.log_variance = nn.Parameter(torch.tensor([math.log(halves[n] / w) for n, w in weights.items()]))

    def forward(self, values: Mapping[str, Tensor], embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms."""
        precision, half = self._precision(), full_precision(self.log_variance) / 2
        return {name: precision[i] * values[name] + half[i] for i, name in enumerate(self.names)}

    def weights(self) -> dict[str, Tensor]:
        """The factors of the terms now."""
        return dict(zip(self.names, self._precision().detach(), strict=True))

    def _precision(self) -> Tensor:
        variance = full_precision(self.log_variance)
        return torch.exp(-variance) * variance.new_tensor(list(self._halves().values()))

    def _halves(self) -> dict[str, float]:
        return {name: 0.5 if name in self.regressions else 1.0 for name in self.names}


@weightings.register("gradnorm")
class GradNormWeighting(Weighting):
    """Terms that learn at one pace (GradNorm: Chen et al., ICML 2018, arXiv 1711.02257, algorithm 1).

    With ``n_i`` the norm of the gradient of term i, ``r_i`` its loss relative to its first one, over the mean of
    those, the weights ``w_i`` descend on ``sum_i |w_i n_i - mean_j(w_j n_j) r_i^alpha|``; afterwards they are scaled
    to keep their sum. Works on terms that are not negative. The weights of a batch are those before it.

    NOTE[DIFF] The gradient is that with respect to the embeddings, where the terms part ways, not to the last shared
    layer's weights, which a bank does not know. NOTE[DIFF] One plain step of descent, on the norms over their mean, so
    that ``lr`` does not depend on the scale of the gradients.

    Args:
        alpha: How strongly the pace is restored, not negative; the paper has 0.12 to 1.5, the more the less alike the
            terms are.
        lr: Of the weights, in 0..1.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(self, *, alpha: NotNegative = 1.5, lr: Probability = 0.025) -> None:
        super().__init__()
        self.alpha = alpha
        self.lr = lr
        self.names: tuple[str, ...] = ()

    def bind(self, weights: Mapping[str, float]) -> None:
        """The terms and where their weights start."""
        self.names = tuple(weights)
        self.current = nn.Buffer(torch.tensor(list(weights.values())))
        self.first = nn.Buffer(torch.zeros(len(weights)))
        self.started = nn.Buffer(torch.zeros((), dtype=torch.bool))

    def forward(self, values: Mapping[str, Tensor], embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weighted terms; in training mode the weights move afterwards."""
        weights = self.current.clone()
        weighted = {name: weights[i] * values[name] for i, name in enumerate(self.names)}
        learning = [x for x in embeddings.values() if x.requires_grad]
        if self.training and torch.is_grad_enabled() and learning:
            self._move(values, learning)
        return weighted

    def weights(self) -> dict[str, Tensor]:
        """The weights now."""
        return dict(zip(self.names, self.current.clone(), strict=True))

    def _move(self, values: Mapping[str, Tensor], embeddings: list[Tensor]) -> None:
        norms = torch.stack([_gradient_norm(values[name], embeddings) for name in self.names]).to(self.current.dtype)
        with torch.no_grad():
            losses = torch.stack([values[name].detach() for name in self.names]).to(self.current.dtype).clamp(min=0)
            first = torch.where(self.started, self.first, losses)
            pace = losses / first.clamp(min=torch.finfo(first.dtype).tiny)
            pace = torch.where(first > 0, pace, 1.0)
            relative = pace / pace.mean().clamp(min=torch.finfo(pace.dtype).tiny)
            scaled = norms / norms.mean().clamp(min=torch.finfo(norms.dtype).tiny)
            target = (self.current * scaled).mean() * relative**self.alpha
            # The target is a constant of the descent (section 3.2).
            descended = self.current - self.lr * torch.sign(self.current * scaled - target) * scaled
            total = self.current.sum()
            moved = descended.clamp(min=1e-3 * total / len(self.names))
            moved = moved * total / moved.sum()
            # A batch without a gradient, or one that is not finite, moves nothing.
            sound = moved.isfinite().all() & norms.isfinite().all() & (norms > 0).any()
            self.current.copy_(torch.where(sound, moved, self.current))
            self.first.copy_(torch.where(sound, first, self.first))
            self.started.copy_(self.started | sound)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"alpha={self.alpha}, lr={self.lr}"


def _gradient_norm(value: Tensor, embeddings: list[Tensor]) -> Tensor:
    """Length of the gradient with respect to all embeddings together; 0 for a value that does not depend on them."""
    if not value.requires_grad:
        return value.new_zeros(())
    grads = torch.autograd.grad(value, embeddings, retain_graph=True, allow_unused=True)
    lengths = [torch.linalg.vector_norm(full_precision(grad)) for grad in grads if grad is not None]
    return torch.linalg.vector_norm(torch.stack(lengths)) if lengths else value.new_zeros(())
