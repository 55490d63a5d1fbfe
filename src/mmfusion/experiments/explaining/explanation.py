"""What an explanation finds, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from mmfusion.experiments.explaining.cohort import CohortMeans
from mmfusion.experiments.explaining.options import ExplainOptions
from mmfusion.experiments.explaining.sheet import Sheet
from mmfusion.experiments.locked import Locked
from mmfusion.explain import Faithfulness

FORMAT = 1
"""Version of :meth:`Explanation.to_dict`."""


@dataclass(frozen=True)
class Explanation:
    """Cases of a run, explained. Made by :func:`~mmfusion.experiments.explaining.explaining.explain`.

    Attributes:
        run: Its folder.
        model: Name of its model.
        table: What the cases are of.
        classes: The run's, in order.
        locked: Its threshold and temperature.
        options: What was asked for.
        sheets: One per case.
        cohort: Contributions over many cases; or why there are none, as the end of a sentence.
        trust: By image how faithful the maps are; or why that is not known, as the end of a sentence.
        anchors: Whether the model was trained with losses that draw embeddings to the classes' prototypes.
        compared: Training cases that the neighbors are of, and how many there are; None where they are not known.
        notes: Sentences on what was read.
    """

    run: str
    model: str
    table: str
    classes: tuple[str, ...]
    locked: Locked
    options: ExplainOptions
    sheets: tuple[Sheet, ...]
    cohort: CohortMeans | str
    trust: Mapping[str, Faithfulness] | str
    anchors: bool
    compared: tuple[int, int] | None
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """One row per case and contribution: ``case``, ``modality``, ``part``, ``value`` and its standard ``error``.

        The parts of a case, the bias among them, add up to its output. Of a modality whose parts are known,
        ``presence`` is what remains of it.
        """
        rows: list[tuple[str, str, str, float, float]] = []
        for sheet in self.sheets:
            if (account := sheet.account) is None:
                continue
            rows.append((sheet.id, "", "bias", account.bias, 0.0))
            for name, presence in account.presence.items():
                parts = account.parts.get(name)
                rows.append((sheet.id, name, "presence", presence, 0.0 if parts is None else parts.presence_error))
                if parts is not None:
                    each = zip(parts.names, parts.values.tolist(), parts.errors.tolist(), strict=True)
                    region = "" if name in sheet.cells else "region "
                    rows += [(sheet.id, name, f"{region}{part}", value, error) for part, value, error in each]
        return pd.DataFrame(rows, columns=["case", "modality", "part", "value", "error"])

    def to_dict(self) -> dict[str, Any]:
        """All numbers, for JSON."""
        return {
            "format": FORMAT,
            "run": self.run,
            "model": self.model,
            "table": self.table,
            "classes": list(self.classes),
            "threshold": self.locked.threshold,
            "temperature": self.locked.temperature,
            "options": dict(vars(self.options)),
            "sheets": [sheet.to_dict() for sheet in self.sheets],
            "cohort": self.cohort if isinstance(self.cohort, str) else self.cohort.to_dict(),
            "faithfulness": self.trust
            if isinstance(self.trust, str)
            else {name: measured.to_dict() for name, measured in self.trust.items()},
            "anchors": self.anchors,
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        """The contributions, in a notebook."""
        return self.frame.to_html(index=False, float_format="{:+.3f}".format)
