"""A warning of the checks: a sentence with rows and a fix."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One warning.

    Attributes:
        topic: What it is about, in one or two words: ``"duplicates"``, ``"files"``, ``"sentinels"`` ...
        text: The sentence; it may quote cells and file names, so it is for the user alone.
        fix: What to do, with the option that does it.
        rows: Labels of the rows concerned; empty where all rows are.
    """

    topic: str
    text: str
    fix: str = ""
    rows: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.topic}: {self.text}{f'. {self.fix}' if self.fix else ''}"


def listed(items: Iterable[object], most: int = SHOWN) -> str:
    """The first items, and the number of further ones."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def rows_where(frame: pd.DataFrame, mask: NDArray[np.bool_]) -> tuple[Any, ...]:
    """Labels of the rows of a mask, shape ``(n,)``."""
    return tuple(frame.index[mask].tolist())


def in_rows(rows: tuple[Any, ...]) -> str:
    """The rows as words: ``"row 3"`` or ``"rows 3, 5"``."""
    return f"row{'s' if len(rows) != 1 else ''} {listed(rows)}"
