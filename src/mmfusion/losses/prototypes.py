"""Class prototypes: the direction of a class in each modality, and across them."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mmfusion.layers.directions import unit


class Prototypes(NamedTuple):
    """Unit vectors, one per class in each modality, and last those across modalities.

    Attributes:
        directions: Shape ``(m + 1, k, d)``; zero where a prototype is absent.
        present: Shape ``(m + 1, k)``, bool; True where a case of the class has the modality, and last, where a case is
            of the class.
    """

    directions: Tensor
    present: Tensor

    @property
    def unimodal(self) -> Tensor:
        """Of each modality, shape ``(m, k, d)``."""
        return self.directions[:-1]

    @property
    def crossmodal(self) -> Tensor:
        """Across modalities, shape ``(k, d)``."""
        return self.directions[-1]

    @property
    def has_unimodal(self) -> Tensor:
        """Which unimodal prototypes are present, shape ``(m, k)``, bool."""
        return self.present[:-1]

    @property
    def has_crossmodal(self) -> Tensor:
        """Which crossmodal prototypes are present, shape ``(k,)``, bool."""
        return self.present[-1]


class PrototypeSource(Protocol):
    """Where the anchor losses take their prototypes from."""

    def __call__(self, units: Tensor, labels: Tensor, counted: Tensor) -> Prototypes:
        """Prototypes for a batch: unit embeddings ``(m, b, d)``, labels ``(b,)``, which count ``(m, b)`` bool."""


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


def prototypes_of_means(means: Tensor, mask: Tensor) -> Prototypes:
    """Prototypes from class means ``(m, k, d)``, zero where a class is absent, and which are present, ``(m, k)``."""
    every = torch.cat([means, means.sum(0, keepdim=True)])
    return Prototypes(unit(every), torch.cat([mask, mask.any(0, keepdim=True)]))


def prototypes_of_units(units: Tensor, member: Tensor, counted: Tensor) -> Prototypes:
    """Directions of the classes in a batch (CFCML, arXiv 2603.20016, CCRM).

    ``u[m, k] = N(mean_{i in k} z[m, i])`` and ``c[k] = N(mean_m mean_{i in k} z[m, i])`` with ``z`` the unit
    embeddings and ``N`` the division by the length. Nothing is detached.
    Where the embeddings of a class cancel, their mean has no direction: the prototype is zero, without a gradient.

    Args:
        units: Unit embeddings, shape ``(m, b, d)``.
        member: Which case is of which class, shape ``(b, k)``, bool.
        counted: Which case counts in which modality, shape ``(m, b)``, bool.
    """
    return prototypes_of_means(*class_means(units, member, counted))
