"""Modalities taken away from cases at random, in training."""

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
    """Each modality that a case has is dropped with a probability, but never all of them.

    Where all would go, one that the case has stays, each as likely as the other: with m of them, one is dropped with
    probability ``p - p**m / m``.

    Args:
        present: Which cases have which modality, ``(b,)`` bool on the CPU; True is there.
        probability: Of each, 0 to below 1.
        generator: On the CPU; two draws from the same state drop the same.
        names: The modalities that may be dropped, and of which one stays: those that a model looks at. None: all.

    Returns:
        What is left, for all the modalities given.
    """
    chosen = [name for name in present if names is None or name in names]
    if not probability or not chosen:
        return dict(present)
    there = torch.stack([present[name] for name in chosen])
    draw = torch.rand(there.shape, generator=generator)
    # The largest draw of what a case has stays in any case.
    last = torch.where(there, draw, -1.0).argmax(0, keepdim=True)
    stays = (draw >= probability).scatter(0, last, True)
    return {**present, **dict(zip(chosen, (there & stays).unbind(), strict=True))}
