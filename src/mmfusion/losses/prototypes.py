"""Class prototypes: the direction of a class in each modality, and across them."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmfusion.layers.directions import unit
from mmfusion.losses.inputs import Embeddings, check_labels, units_of
from mmfusion.tokens import Present
from mmfusion.utils.precision import without_autocast


class Prototypes(NamedTuple):
    """Unit vectors, one a class.

    Attributes:
        unimodal: Shape ``(m, k, d)``; zero where ``has_unimodal`` is False.
        crossmodal: Shape ``(k, d)``; zero where ``has_crossmodal`` is False.
        has_unimodal: Shape ``(m, k)``, bool; True where a case of the class has the modality.
        has_crossmodal: Shape ``(k,)``, bool; True where there is a case of the class.
    """

    unimodal: Tensor
    crossmodal: Tensor
    has_unimodal: Tensor
    has_crossmodal: Tensor


def prototypes(
    embeddings: Embeddings, labels: Tensor, n_classes: int, present: Present | Tensor | None = None
) -> Prototypes:
    """Directions of the classes in a batch (CFCML, arXiv 2603.20016, CCRM).

    ``u[m, k] = N(mean_{i in k} z[m, i])`` and ``c[k] = N(mean_m mean_{i in k} z[m, i])`` with ``z`` the unit
    embeddings and ``N`` the division by the length. Nothing is detached.
    Where the embeddings of a class cancel, their mean has no direction: the prototype is zero, without a gradient.

    Args:
        embeddings: A dict or a sequence of ``(b, d)``, or ``(m, b, d)``.
        labels: Shape ``(b,)`` int64. A case whose label is not in 0..k-1 is ignored.
        n_classes: k.
        present: Which cases have which modality; one that lacks it does not count in that modality.

    Returns:
        The prototypes, and which of them there are.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    x, there = units_of(embeddings, present)
    check_labels(labels, x.shape[1])
    with without_autocast(x):
        return prototypes_of_units(x, membership(labels, n_classes), there)


def membership(labels: Tensor, n_classes: int) -> Tensor:
    """Which case is of which class, shape ``(b, k)``, bool; a row is all False for a label out of range."""
    return labels.unsqueeze(-1) == torch.arange(n_classes, device=labels.device)


def class_means(units: Tensor, member: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Mean direction of each class in each modality, not of length 1.

    Args:
        units: Shape ``(m, b, d)``.
        member: Shape ``(b, k)``, bool.
        counted: Which case counts in which modality, shape ``(m, b)``, bool.

    Returns:
        The means, shape ``(m, k, d)``, zero for a class without a case, and which classes have one, ``(m, k)`` bool.
    """
    weights = (member & counted.unsqueeze(-1)).to(units.dtype)  # (m, b, k)
    count = weights.sum(1)  # (m, k)
    # A masked embedding may hold anything; 0 times NaN is NaN, so it is replaced before the product.
    total = weights.mT @ torch.where(counted.unsqueeze(-1), units, 0.0)
    return total / count.clamp(min=1).unsqueeze(-1), count > 0


def prototypes_of_means(means: Tensor, there: Tensor) -> Prototypes:
    """Prototypes from class means ``(m, k, d)``, zero where there is none, and which there are, ``(m, k)`` bool."""
    every = unit(torch.cat([means, means.sum(0, keepdim=True)]))
    return Prototypes(every[:-1], every[-1], there, there.any(0))


def prototypes_of_units(units: Tensor, member: Tensor, counted: Tensor) -> Prototypes:
    """:func:`prototypes` from unit embeddings ``(m, b, d)``, membership ``(b, k)`` and presence ``(m, b)``."""
    return prototypes_of_means(*class_means(units, member, counted))
