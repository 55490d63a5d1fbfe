"""Masks of where the cues of synthetic images are: drawn again on request, from the seed of the images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Hidden: TypeAlias = dict[str, NDArray[Any]]
"""The hidden state of some cases: arrays of ``n`` rows by name, the states of the cues included."""
Draw: TypeAlias = Callable[[Hidden, np.random.Generator], Mapping[str, NDArray[Any]]]
"""From the hidden state of some cases to their images, by modality ``(n, channels, *spatial)``."""


@dataclass(frozen=True, eq=False)
class PlantedMasks:
    """Masks of one image modality, one per case.

    Attributes:
        draw: Draws the masks of some cases, by modality ``(n, *size)``, with the random numbers of their images.
        modality: Whose masks these are.
        hidden: The cases' hidden state.
        present: Which cases have the image, shape ``(n,)`` bool.
        seed: Of the images, of their set.
        chunk: Cases that were drawn at once.
    """

    draw: Draw
    modality: str
    hidden: Hidden = field(repr=False)
    present: NDArray[np.bool_] = field(repr=False)
    seed: Sequence[int]
    chunk: int
    _last: dict[int, NDArray[np.bool_]] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, row: int) -> Tensor | None:
        """One case's mask, shape ``size`` bool; None if the case lacks the image.

        Raises:
            IndexError: If there is no such case.
        """
        if not self.present[row]:
            return None
        start = row % len(self) // self.chunk * self.chunk
        if start not in self._last:
            # One chunk is kept: its cases are asked for one after another.
            hidden = {name: values[start : start + self.chunk] for name, values in self.hidden.items()}
            drawn = self.draw(hidden, np.random.default_rng([*self.seed, start]))[self.modality]
            self._last.clear()
            self._last[start] = drawn
        return torch.from_numpy(self._last[start][row % len(self) - start].copy())
