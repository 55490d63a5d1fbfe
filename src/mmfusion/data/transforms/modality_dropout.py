"""Modality dropout."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor


def drop_modalities(
    present: Mapping[str, Tensor],
    probability: float,
    generator: torch.Generator,
    *,
    names: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Drop each modality of a case with a probability, but never all of them.

    If all would be dropped, one that the case has is kept, each with equal probability: of m modalities, one is dropped
    with probability ``p - p**m / m``.

    Args:
        present: By modality, shape ``(b,)`` bool on the CPU; True is present.
        probability: Probability for each modality, from 0 to below 1.
        generator: On the CPU; the same state drops the same modalities.
        names: The modalities that may be dropped and of which one is kept: the inputs of the model. None: all.

    Returns:
        Presence after dropping, for all modalities of ``present``.
    """
    chosen = [name for name in present if names is None or name in names]
    if not probability or not chosen:
        return dict(present)
    available = torch.stack([present[name] for name in chosen])
    draw = torch.rand(available.shape, generator=generator)
    # The modality with the largest draw among those present is always kept.
    last = torch.where(available, draw, -1.0).argmax(0, keepdim=True)
    kept = (draw >= probability).scatter(0, last, True)
    return {**present, **dict(zip(chosen, (available & kept).unbind(), strict=True))}
