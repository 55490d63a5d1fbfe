"""The losses of an epoch, left on the device until somebody looks."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class NonFiniteLoss(ValueError):
    """A loss became NaN or infinite; the run stops, its last checkpoint stays."""


class LossLog:
    """Collects the terms of each step; nothing waits for the device but :meth:`read` and :meth:`close`.

    Args:
        phase: Its name, for messages.
    """

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._names: list[str] = []
        self._steps: list[Tensor] = []
        self._seen = 0
        self._look: Callable[[], None] | None = None

    def add(self, terms: Mapping[str, Tensor], look: Callable[[], None]) -> None:
        """One step's terms, and what looks at the values behind them; asked for the reason of a loss not finite."""
        self._names = list(terms)
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
            raise NonFiniteLoss(
                f"phase {self._phase!r}: the loss is not finite in step {self._seen + at + 1} of the epoch "
                f"({terms}){self._reason()}; a lower train.lr, train.clip_norm or precision 'no' may help"
            )
        self._seen = len(self._steps)
        return float(values[-1].sum())

    def close(self) -> dict[str, float]:
        """The mean of each term over the epoch."""
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
