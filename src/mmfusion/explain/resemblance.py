"""Which known cases a case resembles in a model's embeddings, and how close it is to the prototypes of the classes."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mmfusion.explain.undisturbed import plain, undisturbed
from mmfusion.layers.directions import unit
from mmfusion.losses.anchors import anchor_set
from mmfusion.losses.prototypes import class_means, membership
from mmfusion.models import FusionModel
from mmfusion.tokens import Inputs, Present

ACROSS = "across modalities"
FUSED = "fused"


class Embedded(NamedTuple):
    """Embeddings of cases.

    Attributes:
        modalities: By modality, shape ``(b, d)``; zeros where a case lacks it.
        present: By modality, shape ``(b,)`` bool.
        fused: Shape ``(b, d')``: what the head reads; of a model that fuses outputs, the embeddings side by side.
    """

    modalities: dict[str, Tensor]
    present: dict[str, Tensor]
    fused: Tensor


class Nearest(NamedTuple):
    """The most similar reference cases, the first the nearest.

    Attributes:
        rows: Of the reference, shape ``(b, k)`` int64.
        similarity: Cosine, shape ``(b, k)``.
    """

    rows: Tensor
    similarity: Tensor


def embedded(model: FusionModel, inputs: Inputs, present: Present | None = None) -> Embedded:
    """The embeddings of a batch, those of each modality and the fused one.

    Args:
        model: In any mode.
        inputs: As the model's.
        present: As the model's.

    Raises:
        ValueError: If the inputs do not fit the model.
    """
    inputs = plain(inputs)
    with undisturbed(model):
        tokens = model.fuse(model.tokenize(inputs, present))
        embeddings = model.pooling(tokens)
        n = len(next(iter(embeddings.values())))
        every = torch.ones(n, dtype=torch.bool, device=next(iter(embeddings.values())).device)
        has = {name: (present or {}).get(name, every if name in inputs else ~every) for name in model.names}
        if model.vectors is None:
            fused = torch.cat([embeddings[name] for name in model.tokenizers], 1)
        else:
            added = {name: t.mask.any(1) for name, t in tokens[-1].items() if name not in has and t.mask is not None}
            fused = model.vectors(embeddings, {**has, **added})
        return Embedded(
            {name: torch.where(has[name].unsqueeze(1), embeddings[name], 0.0) for name in model.tokenizers},
            {name: has[name] for name in model.tokenizers},
            fused,
        )


def nearest_cases(fused: Tensor, reference: Tensor, k: int) -> Nearest:
    """The reference cases with the most similar embeddings.

    Args:
        fused: Shape ``(b, d)``.
        reference: Shape ``(n, d)``; rows that are not finite are no candidates.
        k: How many; fewer where the reference has fewer.

    Raises:
        ValueError: If the widths differ.
    """
    if fused.shape[1] != reference.shape[1]:
        raise ValueError(f"reference expects embeddings of width {fused.shape[1]}, got {reference.shape[1]}")
    sound = reference.isfinite().all(1)
    similarity = unit(fused.double()) @ unit(torch.where(sound.unsqueeze(1), reference, 0.0).double()).mT
    # Stable: of equally similar ones the first.
    ordered, rows = similarity.masked_fill(~sound, -torch.inf).sort(dim=1, descending=True, stable=True)
    most = min(k, int(sound.sum()))
    return Nearest(rows[:, :most], ordered[:, :most])


def prototype_similarities(cases: Embedded, reference: Embedded, labels: Tensor, n_classes: int) -> dict[str, Tensor]:
    """How close cases are to the classes' prototypes, which the anchor losses draw them to.

    A prototype is the direction of the mean of the reference cases' unit embeddings, of a class in a modality, and
    across modalities (:func:`~mmfusion.losses.anchors.anchor_set`). Where modalities have embeddings of several widths
    there is none across them, and that of the fused embedding takes its place.

    Args:
        cases: b cases.
        reference: Training cases.
        labels: Of the reference, shape ``(n,)`` int64; out of range is ignored.
        n_classes: k.

    Returns:
        By modality, and last :data:`ACROSS` or :data:`FUSED`, cosines ``(b, k)``; NaN where the case lacks the
        modality, or the class has no reference case with it.

    Raises:
        ValueError: If labels and reference differ in length.
    """
    if len(labels) != len(reference.fused):
        raise ValueError(f"labels expects one for each of {len(reference.fused)} reference cases, got {len(labels)}")
    names = list(cases.modalities)
    found: dict[str, Tensor] = {}
    if len({x.shape[1] for x in cases.modalities.values()}) == 1:
        prototypes = anchor_set(reference.modalities, labels, n_classes, reference.present).prototypes
        units = {name: unit(cases.modalities[name]) for name in names}
        for m, name in enumerate(names):
            known = cases.present[name].unsqueeze(1) & prototypes.has_unimodal[m]
            found[name] = torch.where(known, units[name] @ prototypes.unimodal[m].mT, torch.nan)
        together = unit(torch.stack(list(units.values())).sum(0))
        known = torch.stack(list(cases.present.values())).any(0).unsqueeze(1) & prototypes.has_crossmodal
        return found | {ACROSS: torch.where(known, together @ prototypes.crossmodal.mT, torch.nan)}
    everywhere = torch.ones(len(labels), dtype=torch.bool, device=labels.device)
    of_cases = {**cases.modalities, FUSED: cases.fused}
    for name, x in ({**reference.modalities, FUSED: reference.fused}).items():
        counted = reference.present.get(name, everywhere)
        means, has = class_means(unit(x).unsqueeze(0), membership(labels, n_classes), counted.unsqueeze(0))
        own = cases.present.get(name, torch.ones(len(cases.fused), dtype=torch.bool, device=labels.device))
        cosine = unit(of_cases[name]) @ unit(means[0]).mT
        found[name] = torch.where(own.unsqueeze(1) & has, cosine, torch.nan)
    return found


def joined(parts: list[Embedded]) -> Embedded:
    """Batches of cases, one after another; at least one."""

    def together(of: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {name: torch.cat([part[name] for part in of]) for name in of[0]}

    return Embedded(
        together([part.modalities for part in parts]),
        together([part.present for part in parts]),
        torch.cat([part.fused for part in parts]),
    )
