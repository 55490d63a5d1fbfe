"""What the pictures show: directions, prototypes and their places in the plane."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mmfusion.experiments.modality_gap.embedding_sets import EmbeddingSets, fused_name
from mmfusion.experiments.modality_gap.projections import project
from mmfusion.losses.prototypes import membership, prototypes_of_units
from mmfusion.metrics.modality_gap import Directions, directions
from mmfusion.metrics.ranking import Floats

ACROSS = None
"""In the place of a modality's name: across all of them."""


class Cloud(NamedTuple):
    """Points of one set.

    Attributes:
        name: Of the set; ``ACROSS`` for prototypes across modalities.
        points: Shape ``(n, 2)``; none for a set of prototypes alone.
        classes: Shape ``(n,)``, -1 without a label.
        prototypes: Shape ``(k, 2)``; NaN for a class without one. None without labels.
    """

    name: str | None
    points: Floats
    classes: NDArray[np.int64]
    prototypes: Floats | None


class Panel(NamedTuple):
    """One picture: sets of one space, by one projection of all of them.

    Attributes:
        title: Of the sets.
        projection: Its name.
        shares: Of the variance along the axes; empty where the projection has none.
        clouds: One per set, and last ``ACROSS``, the prototypes across modalities, where there are several.
    """

    title: str
    projection: str
    shares: tuple[float, ...]
    clouds: tuple[Cloud, ...]


def panels_of(
    sets: EmbeddingSets, labels: NDArray[np.int64], n_classes: int, projections: Sequence[str], seed: int
) -> list[Panel]:
    """The modalities that share a width together, then the fused embeddings; each by every projection.

    Prototypes are those of the anchor losses: the directions of the classes' means of directions, in each modality and
    across them, of the cases that are shown.

    Args:
        sets: Of n cases.
        labels: Shape ``(n,)``, -1 without one.
        n_classes: k.
        projections: Their names.
        seed: Of projections that have one.
    """
    widths: dict[int, list[str]] = {}
    for name, x in sets.modalities.items():
        widths.setdefault(x.shape[1], []).append(name)
    spaces = [(", ".join(names), {name: sets.modalities[name] for name in names}) for names in widths.values()]
    if sets.fused is not None:
        name = fused_name(sets)
        spaces.append((name, {name: sets.fused}))
    found = []
    for title, embeddings in spaces:
        known = directions(embeddings, {name: row for name, row in sets.present.items() if name in embeddings})
        rows = {name: np.flatnonzero(one.counted) for name, one in known.items()}
        units = {name: one.directions[rows[name]] for name, one in known.items()}
        if not any(map(len, rows.values())):
            continue  # no case has any of them
        prototypes = _prototypes(known, labels, n_classes) if (labels >= 0).any() else {}
        for projection in projections:
            placed = _placed([*units.values(), *prototypes.values()], projection, seed)
            points = dict(zip(units, placed.parts))
            of_classes = dict(zip(prototypes, placed.parts[len(units) :]))
            clouds = [Cloud(name, points[name], labels[rows[name]], of_classes.get(name)) for name in units]
            if ACROSS in of_classes:
                clouds.append(Cloud(ACROSS, np.zeros((0, 2)), np.zeros(0, dtype=np.int64), of_classes[ACROSS]))
            found.append(Panel(title, placed.projection, placed.shares, tuple(clouds)))
    return found


class _Placed(NamedTuple):
    projection: str
    shares: tuple[float, ...]
    parts: list[Floats]


def _placed(blocks: Sequence[Floats], projection: str, seed: int) -> _Placed:
    """All rows that are finite by one fit; the others are NaN."""
    together = np.concatenate(blocks)
    sound = np.isfinite(together).all(axis=1)
    projected = project(together[sound], projection, seed)
    points = np.full((len(together), 2), np.nan)
    points[sound] = projected.points
    return _Placed(projected.name, projected.shares, np.split(points, np.cumsum([len(x) for x in blocks])[:-1]))


def _prototypes(known: dict[str, Directions], labels: NDArray[np.int64], n_classes: int) -> dict[str | None, Floats]:
    """By set, shape ``(k, d)``, and across several sets; NaN where a class has none."""
    units = torch.from_numpy(np.stack([one.directions for one in known.values()]))
    member = membership(torch.from_numpy(labels), n_classes)
    counted = torch.from_numpy(np.stack([one.counted for one in known.values()])) & member.any(1)
    prototypes = prototypes_of_units(units, member, counted)
    has_direction = prototypes.present & prototypes.directions.any(-1)  # directions may cancel
    shown = torch.where(has_direction.unsqueeze(-1), prototypes.directions, torch.nan).numpy()
    found: dict[str | None, Floats] = dict(zip((*known, ACROSS), shown))
    if len(known) == 1:
        del found[ACROSS]  # it would be the set's own
    return found
