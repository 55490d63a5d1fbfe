"""One test of the faithfulness of a heat map, and its verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from mmfusion.explain.case_summary import Summary, summary

ALIKE = 0.5
"""Rank correlation that maps of the same model with its weights in random order must stay below."""
UNSTABLE = 0.5
"""Change by noise, by the map's own norm, that a map must stay below; two maps without anything in common differ by
about 1 to 1.4."""

LOWER_IS_BETTER: Mapping[str, bool] = {
    "deletion": True,
    "insertion": False,
    "random_weights": True,
    "noise": True,
    "pointing": False,
    "energy": False,
}
"""The tests in order, and whether a lower value is the better one."""
SENTENCES: Mapping[str, tuple[str, str]] = {
    "deletion": ("better than random maps in deletion", "no better than random maps in deletion"),
    "insertion": ("better than random maps in insertion", "no better than random maps in insertion"),
    "random_weights": (
        "changes when weights are randomized",
        f"does not change when weights are randomized: rank correlation not below {ALIKE}",
    ),
    "noise": ("stable under noise", f"unstable under noise: changes by not less than {UNSTABLE} of itself"),
    "pointing": (
        "points into the mask more often than random maps",
        "points into the mask no more often than random maps",
    ),
    "energy": ("more heat inside the mask than random maps", "no more heat inside the mask than random maps"),
}
"""Of each test what passed and what failed means."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class FaithfulnessTest:
    """One test: values of cases, what they are compared with, and a verdict.

    Attributes:
        name: A key of ``LOWER_IS_BETTER``.
        rows: The cases, positions in the batch, shape ``(r,)`` int64.
        values: Of each, shape ``(r,)`` float64.
        reference: What it is compared with, likewise: the mean of its random maps, or a limit.
        level: Coverage of the intervals.
        value: Mean of the values.
        gain: Mean of how much better the value is than its reference, paired by case; positive is better.
        passed: Whether the interval of the gain is above 0; None: one case has no interval.
    """

    name: str
    rows: Tensor
    values: Tensor
    reference: Tensor
    level: float = 0.95
    value: Summary = field(init=False)
    gain: Summary = field(init=False)
    passed: bool | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", summary(self.values, self.level))
        object.__setattr__(self, "gain", summary(self.gains, self.level))
        object.__setattr__(self, "passed", None if self.gain.low is None else self.gain.low > _ROUNDING)

    @property
    def gains(self) -> Tensor:
        """Of each case, shape ``(r,)``: how much better its value is than its reference."""
        difference = self.values - self.reference
        return -difference if LOWER_IS_BETTER[self.name] else difference

    @property
    def reason(self) -> str:
        """The verdict in words, with the gain and its interval."""
        good, bad = SENTENCES[self.name]
        if self.passed is None:
            return f"one case gives no verdict on {self.name.replace('_', ' ')}: gain {self.gain}"
        return f"{good if self.passed else bad}; gain {self.gain}, {self.gain.n} cases"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **{"passed": self.passed, "reason": self.reason, "level": self.level},
            **{"value": self.value._asdict(), "gain": self.gain._asdict()},
            **{key: getattr(self, key).tolist() for key in ("rows", "values", "reference")},
        }
