"""Near-identical images: a perceptual hash proposes pairs, and the correlation of fine detail confirms them.

The hash has the signs of the lowest frequencies of a small grey image, relative to their median (Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010). Medical images of one kind have similar
low frequencies, so pairs are confirmed by detail: each pixel relative to its neighborhood's mean and deviation, without
what all images share, such as a scanner's frame.

Measured on 1,000 images each of BUS-BRA and HAM10000: no pair of different images correlated above 0.4; copies that
were compressed at JPEG quality 40, halved, brightened or noisy correlated above 0.6, copies cropped by 5% mostly above
0.47.
"""

from typing import Final, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

SIDE: Final = 64
"""Side of the small grey images that are compared."""
_HASHED, _FREQUENCIES = 32, 8
_NEIGHBORHOOD = 9
_LOUDNESS = 2.0
"""Added to the deviation of a neighborhood, in grey values: noise in flat regions is no detail."""
MOST_BITS: Final = 12
"""Most of 64 bits in which the hashes of a pair may differ."""
_LEAST, _ALIKE = 0.5, 0.9
"""Limits of the correlation of a pair; where unrelated images are alike, such as masked ones, it is higher."""
_TURNED = 0.1
"""Added to the limit for mirrored and rotated copies, of which there are seven times as many pairs."""
_SAMPLE, _FEWEST = 500, 20
_BLOCK = 512
MOST_TURNED: Final = 20_000
"""With more images, mirrored and rotated copies are not looked for."""

T = TypeVar("T", bound=np.generic)
Thumbnails = NDArray[np.uint8]
"""Small grey images, shape ``(n, SIDE, SIDE)``."""


class Pair(NamedTuple):
    """Two images of which one is nearly a copy of the other.

    Attributes:
        first: Position of one.
        second: Position of the other, larger.
        correlation: Of their detail, up to 1.
        turned: Whether one is the other mirrored or rotated by a quarter turn.
    """

    first: int
    second: int
    correlation: float
    turned: bool


def similar_pairs(images: Thumbnails, *, turns: bool = True) -> list[Pair]:
    """All pairs of nearly identical images.

    Args:
        images: Shape ``(n, SIDE, SIDE)``.
        turns: Whether mirrored and rotated copies count; for at most :data:`MOST_TURNED` images.

    Returns:
        The pairs, in ascending order; an image without any detail is in none.
    """
    if len(images) < 2:
        return []
    details = _details(images)
    common, limit = _common(details)
    hashes = perceptual_hash(images)
    best: dict[tuple[int, int], Pair] = {}
    for turn in range(8 if turns and len(images) <= MOST_TURNED else 1):
        candidates = _candidates(hashes if turn == 0 else perceptual_hash(_turned(images, turn)), hashes)
        for start in range(0, len(candidates), _BLOCK):
            first, second = candidates[start : start + _BLOCK].T
            a = _relative(_turned(details[first], turn), common)
            b = _relative(details[second], common)
            for i, j, value in zip(first.tolist(), second.tolist(), np.einsum("np,np->n", a, b).tolist()):
                known = best.get((i, j))
                if value >= limit + _TURNED * (turn > 0) and (known is None or value > known.correlation):
                    best[i, j] = Pair(i, j, value, turn > 0)
    return [best[key] for key in sorted(best)]


def perceptual_hash(images: Thumbnails) -> NDArray[np.uint64]:
    """A hash of 64 bits per image, shape ``(n,)``: similar images differ in few bits."""
    small = images.reshape(len(images), _HASHED, SIDE // _HASHED, _HASHED, SIDE // _HASHED).mean((2, 4))
    steps = np.arange(_HASHED) + 0.5
    cosines = np.cos(np.pi / _HASHED * np.arange(_FREQUENCIES)[:, None] * steps)
    frequencies = (cosines @ small @ cosines.T).reshape(len(images), -1)
    frequencies[:, 0] = 0  # the mean brightness
    bits = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)
    hashes: NDArray[np.uint64] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes


def _candidates(turned: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Pairs of positions, shape ``(p, 2)``, the first smaller, whose hashes differ in few bits."""
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(hashes), _BLOCK):
        differ = np.bitwise_count(turned[start : start + _BLOCK, None] ^ hashes[None])
        first, second = np.nonzero(differ <= MOST_BITS)
        first += start
        found.append(np.stack([first, second], axis=1)[first < second])
    return np.concatenate(found)


def _turned(images: NDArray[T], turn: int) -> NDArray[T]:
    """One of the eight orientations of images or their details; 0 leaves them as they are."""
    mirrored = images[:, :, ::-1] if turn >= 4 else images
    return np.ascontiguousarray(np.rot90(mirrored, turn % 4, axes=(1, 2)))


def _details(images: Thumbnails) -> NDArray[np.float16]:
    """Each pixel relative to its neighborhood, shape ``(n, SIDE, SIDE)``."""
    return np.concatenate([_details_of(images[start : start + _BLOCK]) for start in range(0, len(images), _BLOCK)])


def _details_of(images: Thumbnails) -> NDArray[np.float16]:
    grey = torch.from_numpy(images).float()[:, None]

    def around(x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(x, _NEIGHBORHOOD, 1, _NEIGHBORHOOD // 2, count_include_pad=False)

    difference = grey - around(grey)
    relative = difference / (around(difference.square()).sqrt() + _LOUDNESS)
    details: NDArray[np.float16] = relative[:, 0].half().numpy()
    return details


def _relative(details: NDArray[np.float16], common: NDArray[np.float32]) -> NDArray[np.float32]:
    """Details without common ones, shape ``(n, SIDE * SIDE)``, of length 1; zeros for an image without any."""
    rest = (details - common).reshape(len(details), -1)
    norms = np.sqrt(np.einsum("np,np->n", rest, rest))[:, None]
    return np.asarray(rest / np.where(norms > 1e-2, norms, np.inf), dtype=np.float32)


def _common(details: NDArray[np.float16]) -> tuple[NDArray[np.float32], float]:
    """Details that all images share, and the correlation from which a pair is nearly identical."""
    some = details[:: -(-len(details) // _SAMPLE)]
    if len(some) < _FEWEST:
        return np.zeros((SIDE, SIDE), dtype=np.float32), _LEAST
    common = np.asarray(some.mean(0, dtype=np.float32), dtype=np.float32)
    relative = _relative(some, common)
    others = (relative @ relative.T)[np.triu_indices(len(some), 1)]
    return common, float(np.clip(others.mean() + 6 * others.std(), _LEAST, _ALIKE))
