"""The labels of another table: known classes, unknown ones, and rows without any."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.reader import TargetColumn
from mmfusion.data.schema.cells import texts


@dataclass(frozen=True)
class TrueLabels:
    """Labels of a table's rows.

    Attributes:
        codes: Shape ``(n,)``, class indices; -1 where a row has no label of the run's classes.
        classes: The run's classes, in order.
        unknown: Labels that are none of these, with their numbers of rows.
        unlabelled: Rows without a label.
    """

    codes: NDArray[np.int64]
    classes: tuple[str, ...]
    unknown: Mapping[str, int]
    unlabelled: int

    @property
    def rows(self) -> NDArray[np.intp]:
        """Positions of the rows with a label of the run's classes."""
        return np.flatnonzero(self.codes >= 0)

    @property
    def of_class(self) -> dict[str, int]:
        """Rows of each class."""
        return {name: int((self.codes == code).sum()) for code, name in enumerate(self.classes)}

    @property
    def names(self) -> list[str | None]:
        """The class of each row; None where it has none."""
        return [self.classes[code] if code >= 0 else None for code in self.codes.tolist()]

    def sentences(self) -> list[str]:
        """What a reader must know of them."""
        lines = []
        if self.unlabelled:
            lines.append(f"{self.unlabelled} of {len(self.codes)} rows have no label and are in no metric.")
        if self.unknown:
            listed = ", ".join(f"{name!r} ({n}x)" for name, n in self.unknown.items())
            lines.append(
                f"{sum(self.unknown.values())} rows have labels that are no class of the run and are in no metric: "
                f"{listed}. The classes are {', '.join(map(repr, self.classes))}; another spelling of one is given by "
                f"aliases={{{next(iter(self.unknown))!r}: {self.classes[0]!r}}}."
            )
        if lacking := [name for name, n in self.of_class.items() if not n]:
            lines.append(f"No row is of class {', '.join(map(repr, lacking))}.")
        return lines


def read_labels(frame: pd.DataFrame, target: TargetColumn, aliases: Mapping[str, str] | None = None) -> TrueLabels:
    """The labels of a table that has the target's column.

    Spellings that differ only in case or blanks are one class.

    Args:
        frame: The rows.
        target: The run's.
        aliases: Other spellings, with their class.

    Raises:
        ValueError: If an alias is of no class of the run; names the classes.
    """
    if wrong := sorted(set((aliases or {}).values()) - set(target.classes)):
        raise ValueError(
            f"aliases expects classes of the run ({', '.join(target.classes)}), got {', '.join(map(repr, wrong))}"
        )
    target = replace(target, aliases={**target.aliases, **(aliases or {})})
    codes = target.codes(frame)
    cells = texts(frame, target.column)
    unknown = Counter(cell for cell, code in zip(cells, codes.tolist()) if code < 0 and cell is not None)
    return TrueLabels(codes, target.classes, dict(unknown.most_common()), sum(cell is None for cell in cells))
