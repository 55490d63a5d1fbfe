"""What CFCML's anchor losses share: directions, labels and prototypes.

Equations: CFCML (arXiv 2603.20016), hierarchical anchor-based relationship mining. ``x[m, i]`` is the embedding of
case i in modality m, ``u[m, k]`` and ``c[k]`` are the prototypes of
:func:`~mmfusion.losses.prototypes.prototypes_of_units`, and ``l(a; P, N)`` is
:func:`~mmfusion.losses.functional.contrast` of an anchor with its positives and negatives.

NOTE[DIFF] An absent class is left out of anchors, positives, negatives and averages; the published code divides by
its empty set and makes every gradient NaN. NOTE[DIFF] The shares are computed in log space without the published
``eps = 1e-8``, which is an option. NOTE[DIFF] Outside the published recipes the losses are averaged over modalities
and over the classes in the batch (``reduction="normalized"``): as published they are scaled by the number of
classes and modalities, each in another way, so that weights do not carry from one dataset to another.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mmfusion.losses.inputs import Embeddings, Units, loss_inputs, units_of
from mmfusion.losses.prototypes import Prototypes, PrototypeSource, membership, prototypes_of_units
from mmfusion.tokens import Present
from mmfusion.utils.precision import without_autocast
from mmfusion.utils.tensor_checks import require


class AnchorSet(NamedTuple):
    """What the three losses share; computed once per batch.

    Attributes:
        units: Embeddings of length 1, shape ``(m, b, d)``; zero for a case that lacks the modality.
        labels: Shape ``(b,)``, int64.
        member: Which case is of which class, shape ``(b, k)``, bool.
        counted: Which case counts in which modality, shape ``(m, b)``, bool: it is present, its label in range.
        prototypes: Of the batch, or of a source that remembers earlier ones.
    """

    units: Tensor
    labels: Tensor
    member: Tensor
    counted: Tensor
    prototypes: Prototypes


def anchor_set(
    embeddings: Embeddings,
    labels: Tensor,
    n_classes: int,
    present: Present | Tensor | None = None,
    *,
    source: PrototypeSource | None = None,
) -> AnchorSet:
    """Normalize the embeddings and compute the prototypes, once for all three losses.

    Args:
        embeddings: A dict or a sequence of ``(b, d)``, or ``(m, b, d)``.
        labels: Shape ``(b,)`` int64. A case whose label is not in 0..k-1 is ignored.
        n_classes: k.
        present: Which cases have which modality.
        source: Where the prototypes come from; None: this batch. See :mod:`mmfusion.losses.memory`.

    Returns:
        The first argument of :func:`~mmfusion.losses.sample_anchor.sample_anchor_loss`,
        :func:`~mmfusion.losses.unimodal_anchor.unimodal_anchor_loss` and
        :func:`~mmfusion.losses.crossmodal_anchor.crossmodal_anchor_loss`.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    inputs = loss_inputs(embeddings, labels, present)
    return anchors_of_units(units_of(inputs.embeddings, inputs.present), labels, n_classes, source)


def anchors_of_units(units: Units, labels: Tensor, n_classes: int, source: PrototypeSource | None = None) -> AnchorSet:
    """:func:`anchor_set` from directions."""
    require("labels", labels, torch.int64, units.x.shape[1])
    member = membership(labels, n_classes)
    counted = units.present & member.any(-1)
    with without_autocast(units.x):
        if source is None:
            prototypes = prototypes_of_units(units.x, member, counted)
        else:
            prototypes = source(units.x, labels, counted)
        return AnchorSet(units.x, labels, member, counted, prototypes)
