"""Class prototypes: the direction of a class in each modality, and across them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from mmfusion.losses.functional import full_precision, unit, without_autocast
from mmfusion.tokens import Present

Embeddings: TypeAlias = Mapping[str, Tensor] | Sequence[Tensor] | Tensor
"""One ``(b, d)`` a modality, by name or in order, or all of them stacked, ``(m, b, d)``."""


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


def stack_embeddings(embeddings: Embeddings) -> Tensor:
    """All modalities as one tensor.

    Args:
        embeddings: A dict or a sequence of ``(b, d)``, or ``(m, b, d)``.

    Returns:
        Shape ``(m, b, d)``, in float32 or float64.

    Raises:
        ValueError: If shapes or dtypes do not fit; the modality is named.
    """
    if isinstance(embeddings, Tensor):
        if embeddings.ndim != 3 or not embeddings.is_floating_point():
            raise ValueError(
                "stacked embeddings must be floating point of shape (m, b, d), "
                f"got {embeddings.dtype} {tuple(embeddings.shape)}"
            )
        return full_precision(embeddings)
    named = embeddings if isinstance(embeddings, Mapping) else {str(i): e for i, e in enumerate(embeddings)}
    if not named:
        raise ValueError("at least one modality's embeddings are needed, got none")
    first = next(iter(named.values()))
    for name, embedding in named.items():
        if embedding.ndim != 2 or not embedding.is_floating_point() or embedding.shape != first.shape:
            raise ValueError(
                "embeddings must be floating point of one shape (b, d) in all modalities; the first has "
                f"{tuple(first.shape)}, {name!r} has {embedding.dtype} {tuple(embedding.shape)}"
            )
    return torch.stack([full_precision(embedding) for embedding in named.values()])


def stack_present(embeddings: Embeddings, present: Present | Tensor | None, like: Tensor) -> Tensor:
    """Which cases have which modality, as one tensor.

    Args:
        embeddings: Gives the names and the order.
        present: By name, ``(b,)`` bool, a name left out has all; or ``(m, b)`` bool; or None, all.
        like: Stacked embeddings, shape ``(m, b, d)``.

    Returns:
        Shape ``(m, b)``, bool; True is there.

    Raises:
        ValueError: If a shape or dtype does not fit, or names are given for embeddings that have none.
    """
    everything = torch.ones(like.shape[:2], dtype=torch.bool, device=like.device)
    if present is None or (isinstance(present, Mapping) and not present):
        return everything
    if isinstance(present, Tensor):
        if present.dtype != torch.bool or present.shape != everything.shape:
            raise ValueError(
                f"present must be bool of shape {tuple(everything.shape)}, got {present.dtype} {tuple(present.shape)}"
            )
        return present
    if not isinstance(embeddings, Mapping):
        raise ValueError("present by name needs embeddings by name; with stacked embeddings give present as (m, b)")
    rows = [present.get(name, everything[i]) for i, name in enumerate(embeddings)]
    for name, row in zip(embeddings, rows, strict=True):
        if row.dtype != torch.bool or row.shape != everything.shape[1:]:
            raise ValueError(
                f"present[{name!r}] must be bool of shape ({like.shape[1]},), got {row.dtype} {tuple(row.shape)}"
            )
    return torch.stack(rows)


def check_labels(labels: Tensor, n_cases: int) -> None:
    """Refuse labels of the wrong dtype or shape.

    Raises:
        ValueError: If labels are not ``(b,)`` int64.
    """
    if labels.dtype != torch.int64 or labels.shape != (n_cases,):
        raise ValueError(f"labels must be int64 of shape ({n_cases},), got {labels.dtype} {tuple(labels.shape)}")


def prototypes(
    embeddings: Embeddings, labels: Tensor, n_classes: int, present: Present | Tensor | None = None
) -> Prototypes:
    """Directions of the classes in a batch (CFCML, arXiv 2603.20016, CCRM).

    ``u[m, k] = N(mean_{i in k} z[m, i])`` and ``c[k] = N(mean_m mean_{i in k} z[m, i])`` with ``z`` the unit
    embeddings and ``N`` the division by the length. Nothing is detached.

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
    x = stack_embeddings(embeddings)
    check_labels(labels, x.shape[1])
    there = stack_present(embeddings, present, x)
    with without_autocast(x):
        # Replaced before they are normalised: a masked embedding may be NaN, and so would be its gradient.
        units = unit(torch.where(there.unsqueeze(-1), x, 0.0))
        return prototypes_of_units(units, membership(labels, n_classes), there)


def membership(labels: Tensor, n_classes: int) -> Tensor:
    """Which case is of which class, shape ``(b, k)``, bool; a row is all False for a label out of range."""
    return labels.unsqueeze(-1) == torch.arange(n_classes, device=labels.device)


def prototypes_of_units(units: Tensor, member: Tensor, present: Tensor) -> Prototypes:
    """:func:`prototypes` from unit embeddings ``(m, b, d)``, membership ``(b, k)`` and presence ``(m, b)``."""
    counted = (member & present.unsqueeze(-1)).to(units.dtype)  # (m, b, k)
    count = counted.sum(1)  # (m, k)
    # A masked embedding may hold anything; 0 times NaN is NaN, so it is replaced before the product.
    means = counted.mT @ torch.where(present.unsqueeze(-1), units, 0.0) / count.clamp(min=1).unsqueeze(-1)
    has_unimodal = count > 0
    return Prototypes(unit(means), unit(means.sum(0)), has_unimodal, has_unimodal.any(0))
