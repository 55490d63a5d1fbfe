"""The losses of an epoch, left on the device until somebody looks."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from mmfusion.training.memory import is_out_of_memory


class NonFiniteLoss(ValueError):
    """Training diverged: a loss, a weight or an output is not finite; the run stops, its last checkpoint stays."""


class LossLog:
    """Collects the terms of each step; nothing waits for the device but :meth:`read` and :meth:`close`.

    Args:
        where: The phase and the epoch, for messages.
        advice: What a user can change, for messages.
    """

    def __init__(self, where: str, advice: str) -> None:
        self._where = where
        self._advice = advice
        self._rates: list[float] = []
        self._names: list[str] = []
        self._steps: list[Tensor] = []
        self._seen = 0
        self._look: Callable[[], None] | None = None

    def add(self, terms: Mapping[str, Tensor], lr: float, look: Callable[[], None]) -> None:
        """One step's terms.

        Args:
            terms: Scalars by their names.
            lr: The step's learning rate.
            look: Looks at the values behind the terms; asked for the reason of a loss that is not finite.
        """
        self._names = list(terms)
        self._rates.append(lr)
        self._steps.append(torch.stack([term.detach().float() for term in terms.values()]))
        self._look = look

    def read(self) -> float:
        """The last total.

        Raises:
            NonFiniteLoss: If a step since the last look was not finite.
        """
        values = torch.stack(self._steps[self._seen :]).cpu()
        bad = (~values.isfinite()).any(dim=1).nonzero()
        if len(bad):
            at = int(bad[0])
            terms = ", ".join(f"{name}={value:.4g}" for name, value in zip(self._names, values[at].tolist()))
            step = self._seen + at
            raise NonFiniteLoss(
                f"training diverged: {self._where}: the loss is not finite in step {step + 1} of the epoch ({terms}), "
                f"at learning rate {self._rates[step]:.3g}{self._reason()}; {self._advice}"
            )
        self._seen = len(self._steps)
        return float(values[-1].sum())

    def diverged(self, what: str) -> NonFiniteLoss:
        """The error of something else that is not finite after the last step."""
        return NonFiniteLoss(
            f"training diverged: {self._where}: {what} not finite after step {len(self._steps)} of the epoch, at "
            f"learning rate {self._rates[-1]:.3g}; {self._advice}"
        )

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Around a step: an error that follows from an earlier step that diverged is reported as that divergence."""
        try:
            yield
        except (ValueError, RuntimeError) as error:
            if len(self._steps) == self._seen or is_out_of_memory(error):
                raise
            try:
                self.read()
            except NonFiniteLoss as diverged:
                raise diverged from error
            except RuntimeError:  # a device that fails does not tell its losses either
                pass
            raise

    def close(self) -> dict[str, float]:
        """The mean of each term over the epoch.

        Raises:
            NonFiniteLoss: As :meth:`read`.
        """
        if len(self._steps) > self._seen:
            self.read()
        mean = torch.stack(self._steps).double().mean(dim=0).tolist()
        return dict(zip(self._names, mean))

    def _reason(self) -> str:
        if self._look is None:
            return ""
        try:
            self._look()
        except ValueError as error:
            return f": {error}"
        return ""
