"""Explanation of one case, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mmfusion.experiments.explaining.planes import Overlaid
from mmfusion.explain import Account, Worth
from mmfusion.metrics.classification import reported


class Neighbor(NamedTuple):
    """A training case with a similar embedding.

    Attributes:
        id: Its name.
        label: Its class.
        similarity: Cosine of the fused embeddings.
        image: Its first image, small; None without one.
    """

    id: str
    label: str
    similarity: float
    image: Any = None


@dataclass(frozen=True)
class Sheet:
    """One case. Parts that cannot be made are empty, and ``lacking`` says why.

    Attributes:
        id: Name of the case.
        why: Why it was chosen.
        true: Its class; None where it has no label of the run's classes.
        label: The run's decision; None where the output is not finite.
        explained: The class that contributions and maps are of.
        probabilities: By class, as the model gives them; not finite where its output is not.
        calibrated: By class; None without a temperature.
        in_set: Classes of the conformal set; None without calibration cases.
        loss: Minus the log of the true class's probability.
        account: Contributions in log odds.
        region_kind: What the regions are, in words.
        cells: By table, the text of each column's cell.
        worth: By what is missing, what knowing it would be worth.
        images: By image, its planes.
        neighbors: Training cases, the most similar first.
        prototypes: By modality, the cosine with each class's prototype.
        groups: Its subgroups.
        notes: Sentences on this case.
        lacking: By part, why it is empty, as the end of a sentence.
    """

    id: str
    why: str
    true: str | None
    label: str | None
    explained: str
    probabilities: Mapping[str, float]
    calibrated: Mapping[str, float] | None
    in_set: tuple[str, ...] | None
    loss: float | None
    account: Account | None
    region_kind: str
    cells: Mapping[str, Mapping[str, str]]
    worth: Mapping[str, Worth]
    images: Mapping[str, Overlaid]
    neighbors: tuple[Neighbor, ...]
    prototypes: Mapping[str, Mapping[str, float]]
    groups: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)

    @property
    def right(self) -> bool | None:
        """Whether the label is the true class; None where one is unknown."""
        return None if self.true is None or self.label is None else self.true == self.label

    def to_dict(self) -> dict[str, Any]:
        """All numbers, for JSON; without pictures."""
        return {
            "id": self.id,
            "why": self.why,
            "true": self.true,
            "label": self.label,
            "explained": self.explained,
            "probabilities": _numbers(self.probabilities),
            "calibrated": None if self.calibrated is None else _numbers(self.calibrated),
            "set": None if self.in_set is None else list(self.in_set),
            "loss": None if self.loss is None else reported(self.loss),
            "account": None if self.account is None else account_dict(self.account),
            "cells": {name: dict(cells) for name, cells in self.cells.items()},
            "worth": {name: worth._asdict() for name, worth in self.worth.items()},
            "neighbors": [
                {"id": one.id, "label": one.label, "similarity": reported(one.similarity)} for one in self.neighbors
            ],
            "prototypes": {name: _numbers(row) for name, row in self.prototypes.items()},
            "groups": dict(self.groups),
            "notes": list(self.notes),
            "lacking": dict(self.lacking),
        }


def account_dict(account: Account) -> dict[str, Any]:
    """An account, for JSON; what is not finite is null."""
    return {
        "bias": reported(account.bias),
        "output": reported(account.output),
        "modalities": _numbers(account.modalities),
        "presence": _numbers(account.presence),
        "parts": {
            name: {
                "names": list(parts.names),
                "values": [reported(float(x)) for x in parts.values],
                "errors": [reported(float(x)) for x in parts.errors],
                "presence_error": reported(parts.presence_error),
            }
            for name, parts in account.parts.items()
        },
        "interaction": [{"of": list(pair), "value": reported(x)} for pair, x in account.interaction.items()],
    }


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: reported(value) for name, value in values.items()}
