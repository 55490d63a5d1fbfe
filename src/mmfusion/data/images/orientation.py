"""Anatomical directions of a volume's axes, from its NIfTI header."""

from typing import Any, NamedTuple

import numpy as np

from mmfusion.utils.optional import need

OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "I": "S", "S": "I"}
THICK = 1.5
"""Ratio from which an axis counts as clearly the largest or smallest."""


class Turn(NamedTuple):
    """Permutation and flips from a file's axes to height, width and slices.

    Attributes:
        order: The file's axis for each of the three.
        flipped: Those of the three that are flipped after the permutation.
    """

    order: tuple[int, ...]
    flipped: tuple[int, ...] = ()


def check_orientation(orientation: object) -> str:
    """Check an orientation: three letters, the directions of height, width and slices.

    Raises:
        ValueError: If it is anything else.
    """
    letters = orientation if isinstance(orientation, str) else ""
    if sorted(min(letter, OPPOSITE.get(letter, letter)) for letter in letters) != ["A", "I", "L"]:
        raise ValueError(
            "orientation expects the directions of height, width and slices, one letter each of L or R (left, right), "
            f"A or P (anterior, posterior), S or I (superior, inferior), such as 'RAS', got {orientation!r}"
        )
    return letters


def directions(header: Any) -> str | None:
    """Directions of the file's axes, one letter each, such as ``"RAS"``; None if the header has none.

    Oblique axes count as the nearest anatomical ones.

    Args:
        header: Header of a NIfTI file, as nibabel reads it.
    """
    if int(header["qform_code"]) <= 0 and int(header["sform_code"]) <= 0:
        return None
    affine = header.get_best_affine()
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        return None
    codes = need("nibabel", "medical").aff2axcodes(affine)
    return None if None in codes else "".join(codes)


def turn_to(orientation: str, current: str) -> Turn:
    """The turn from the orientation ``current`` to ``orientation``; for both see :func:`check_orientation`.

    >>> turn_to("RAS", "SRP")
    Turn(order=(1, 2, 0), flipped=(1,))
    """
    order = tuple(
        next(i for i, direction in enumerate(current) if letter in (direction, OPPOSITE[direction]))
        for letter in orientation
    )
    return Turn(order, tuple(i for i, axis in enumerate(order) if current[axis] != orientation[i]))


def turned_codes(current: str, turn: Turn) -> str:
    """The orientation of a file after a turn."""
    return "".join(OPPOSITE[current[a]] if i in turn.flipped else current[a] for i, a in enumerate(turn.order))


def extreme_axis(sizes: tuple[float, ...], *, largest: bool) -> int:
    """The axis of three that is clearly the largest, or the smallest; -1 if there is none."""
    ascending = sorted(range(3), key=sizes.__getitem__, reverse=largest)
    extreme, next_ = sizes[ascending[0]], sizes[ascending[1]]
    return ascending[0] if max(extreme, next_) >= THICK * min(extreme, next_) else -1
