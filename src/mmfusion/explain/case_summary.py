"""Mean over cases with its standard error and interval."""

from typing import Any, NamedTuple

from torch import Tensor

from mmfusion.utils.optional import need


class Summary(NamedTuple):
    """A mean over independent cases.

    Attributes:
        mean: Of the cases.
        error: Its standard error; None for one case.
        low: Lower end of Student's interval; None for one case.
        high: Upper end, likewise.
        n: Cases.
    """

    mean: float
    error: float | None
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.3g}"
        return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"


def summary(values: Tensor, level: float = 0.95) -> Summary:
    """Summarize.

    Args:
        values: Shape ``(n,)`` float64, at least one.
        level: Coverage of the interval.

    Raises:
        ImportError: Without scipy.
    """
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Summary(mean, None, None, None, n)
    error = float(values.std()) / n**0.5
    quantile: Any = need("scipy.special", "explain").stdtrit  # scipy.stats takes a second to import
    reach = float(quantile(n - 1, (1 + level) / 2)) * error
    return Summary(mean, error, mean - reach, mean + reach, n)
