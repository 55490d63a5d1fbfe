"""Splits that BUS-BRA alone has: test sets by scanner, and the folds that were published with it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmfusion.data.datasets.published import published_column
from mmfusion.data.splits import Split, check_split
from mmfusion.data.splits.folds import held_out

DEVICES = {"GE Logiq 5": 809, "GE Logiq 7": 902, "Toshiba Aplio 300": 139, "U-Systems": 25}
"""Scanners with their published numbers of images; in the table frequencies follow, as in ``GE Logiq 7 @10-14MHz``."""
PUBLISHED_FOLDS = (5, 10)


def is_of(frame: pd.DataFrame, devices: Iterable[str]) -> np.ndarray:
    """Whether each row is of one of the scanners, shape ``(n,)`` bool."""
    return frame["Device"].astype(str).str.startswith(tuple(devices)).to_numpy()


def without_shared_patients(frame: pd.DataFrame, devices: Sequence[str]) -> tuple[pd.DataFrame, int]:
    """The rows of the devices, and those of patients whom they never saw; with the number of the other rows."""
    tested = is_of(frame, devices)
    shared = ~tested & frame["Case"].isin(set(frame["Case"][tested])).to_numpy()
    return frame[~shared], int(shared.sum())


def split_by_device(
    frame: pd.DataFrame,
    labels: np.ndarray,
    groups: Sequence[str],
    devices: Sequence[str],
    fractions: Sequence[float],
    seed: int,
) -> Split:
    """All images of some scanners as the test set; the others are divided by patient.

    Args:
        frame: One row per case, without patients whom both kinds of scanners saw.
        labels: Class of each case, shape ``(n,)``.
        groups: Patient of each case.
        devices: Scanners of the test set.
        fractions: Their first two divide the other cases.
        seed: Order of patients with as many images.

    Raises:
        ValueError: If one of the sets is empty.
    """
    tested = is_of(frame, devices)
    n_rest = int((~tested).sum())
    if not n_rest or not tested.any():
        raise ValueError(
            f"test_devices={list(devices)} leaves {n_rest} of {len(frame)} images to train on: name some of the "
            f"scanners in the table, {', '.join(name for name in DEVICES if is_of(frame, [name]).any())}"
        )
    return _split(tested, labels, groups, fractions, seed)


def split_by_published_fold(
    folder: Path,
    ids: Sequence[str],
    labels: np.ndarray,
    groups: Sequence[str],
    fractions: Sequence[float],
    seed: int,
    *,
    folds: int,
    fold: int,
) -> Split:
    """A published fold as the test set; the others are divided by patient.

    The validation sets of the published file are not used, since they need not keep patients together.

    Args:
        folder: The root, with ``5-fold-cv.csv`` or ``10-fold-cv.csv``: columns ID and kFold, from 1.
        ids: Name of each case.
        labels: Class of each case, shape ``(n,)``.
        groups: Patient of each case.
        fractions: Their first two divide the other folds.
        seed: Order of patients with as many images.
        folds: 5 or 10.
        fold: Index of the fold, from 0.

    Raises:
        ValueError: If the file lacks an image or a fold, or a patient is in several folds.
        FileNotFoundError: If the file does not exist.
    """
    if fold >= folds:
        raise ValueError(f"fold expects a whole number from 0 to {folds - 1}, got {fold}")
    file = f"{folds}-fold-cv.csv"
    number = published_column(folder, file, "ID", "kFold", [str(k) for k in range(1, folds + 1)])
    if lacking := [name for name in ids if name not in number]:
        raise ValueError(f"{folder / file} lacks {len(lacking)} image(s) of the table, the first is {lacking[0]!r}")
    tested = np.array([number[name] == str(fold + 1) for name in ids])
    if tested.all() or not tested.any():
        raise ValueError(
            f"{folder / file} has {int(tested.sum())} of {len(ids)} images in fold {fold + 1}: expected some"
        )
    return _split(tested, labels, groups, fractions, seed)


def _split(
    tested: np.ndarray, labels: np.ndarray, groups: Sequence[str], fractions: Sequence[float], seed: int
) -> Split:
    share = fractions[1] / (fractions[0] + fractions[1])
    train, validation = held_out(np.flatnonzero(~tested), labels, np.array(groups, dtype=object), share, seed)
    split = Split(train, validation, np.flatnonzero(tested))
    check_split(split, groups, len(labels))
    return split
