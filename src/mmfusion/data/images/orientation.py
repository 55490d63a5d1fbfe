"""Anatomical directions of a volume's axes, as its NIfTI header notes them."""

from typing import Any, NamedTuple

import numpy as np

from mmfusion.utils.optional import need

OPPOSITE = {"L": "R", "R": "L", "P": "A", "A": "P", "I": "S", "S": "I"}
THICK = 1.5
"""By how much slices must be thicker than the voxels of a slice are wide, or fewer than these are along a side."""


class Turn(NamedTuple):
    """How a file's axes become height, width and slices.

    Attributes:
        order: The file's axis for each of them.
        flipped: Which of them run the other way then.
    """

    order: tuple[int, ...]
    flipped: tuple[int, ...] = ()


def check_orientation(orientation: object) -> str:
    """Three letters for height, width and slices: the directions in which they run.

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
    """Where the file's axes run, a letter each, such as ``"RAS"``; None where the header does not say.

    Oblique axes count as the nearest anatomical ones.

    Args:
        header: Of a NIfTI file, as nibabel reads it.
    """
    if int(header["qform_code"]) <= 0 and int(header["sform_code"]) <= 0:
        return None
    affine = header.get_best_affine()
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        return None
    codes = need("nibabel", "medical").aff2axcodes(affine)
    return None if None in codes else "".join(codes)


def turn_to(orientation: str, found: str) -> Turn:
    """How axes that run as ``found`` says become those of ``orientation``; both as :func:`check_orientation` has them.

    >>> turn_to("RAS", "SRP")
    Turn(order=(1, 2, 0), flipped=(1,))
    """
    order = tuple(next(i for i, is_ in enumerate(found) if letter in (is_, OPPOSITE[is_])) for letter in orientation)
    return Turn(order, tuple(i for i, axis in enumerate(order) if found[axis] != orientation[i]))


def turned_codes(found: str, turn: Turn) -> str:
    """The letters of a file's axes once they are turned."""
    return "".join(OPPOSITE[found[a]] if i in turn.flipped else found[a] for i, a in enumerate(turn.order))


def extreme_axis(sizes: tuple[float, ...], *, largest: bool) -> int:
    """The axis that is clearly the largest, or the smallest, of three; -1: none is."""
    ascending = sorted(range(3), key=sizes.__getitem__, reverse=largest)
    one, other = sizes[ascending[0]], sizes[ascending[1]]
    return ascending[0] if max(one, other) >= THICK * min(one, other) else -1
