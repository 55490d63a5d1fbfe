"""Detection of columns that may leak the label.

A column can be recorded because of the diagnosis instead of before it: the excision that follows a suspicion, the
history that is only taken of patients before surgery. Two signs of that are checked. Neither proves a leak, since a
strong predictor shows the first one, too: they name columns to check before a result is trusted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.data.schema.cells import Codes, Floats
from mmfusion.data.schema.columns import MIN_CASES, Column

AUC_LIMIT = 0.80
VALUE_SHARE = 0.05
CLASS_SHARE = 0.10
EXPECTED = 3
FOLDS = 5
BINS = 20
_FEWEST = 40
"""Fewest rows for bins of few values that seldom repeat."""
QUESTION = "Was it known before the diagnosis?"


@dataclass(frozen=True)
class Leak:
    """One finding.

    Attributes:
        columns: The column, or several whose missing cells are in the same rows.
        sign: ``"auc"``: the column alone, or its missingness alone, distinguishes a class from the rest; ``"never"``: a
            frequent value never occurs with some classes.
        value: For ``"never"``, the value; empty for missing cells. For ``"auc"``, ``"cells"`` or
            ``"missingness"``.
        classes: The classes concerned.
        figure: For ``"auc"``, the largest cross-validated AUC of a class; for ``"never"``, the number of rows with the
            value.
        text: The finding as a sentence.
    """

    columns: tuple[str, ...]
    sign: Literal["auc", "never"]
    value: str
    classes: tuple[str, ...]
    figure: float
    text: str

    def __str__(self) -> str:
        return self.text


def find_leaks(
    columns: Iterable[Column],
    frame: pd.DataFrame,
    labels: Sequence[int] | NDArray[np.int64],
    *,
    classes: Sequence[str] = (),
    groups: Sequence[str] | None = None,
    seed: int = 0,
    question: str = QUESTION,
) -> list[Leak]:
    """Find columns that may leak the label.

    Reported are a column, or its missingness, whose cross-validated AUC for one class against the rest is at least
    0.80; and a value, or missing cells, in at least 5% of the rows that never occurs with a class of at least 10% of
    the rows, if at least three such rows would be expected: with fewer, chance explains it in a small table.

    The score of a row is the share of the class among rows of the other folds with the same value; numbers and dates
    with many values are divided into up to 20 bins of equal size, from 40 rows on: of fewer rows such a column is not
    judged, since chance alone would name some. Folds are stratified and keep groups together.

    Args:
        columns: The fitted columns, such as a :class:`~mmfusion.data.schema.table_schema.TableSchema`.
        frame: The training rows.
        labels: Class of each row, shape ``(n,)``.
        classes: Names of the classes; empty: their indices.
        groups: Patient or lesion of each row; None: each row is its own group.
        seed: Seed of the folds.
        question: The end of each sentence.

    Returns:
        The findings, the largest figures first.

    Raises:
        ValueError: If lengths differ, or a class has no name.
    """
    codes = np.asarray(labels, dtype=np.int64)
    if len(codes) != len(frame) or (groups is not None and len(groups) != len(frame)):
        raise ValueError(
            f"expected one label{' and one group' if groups is not None else ''} for each of {len(frame)} rows, got "
            f"{len(codes)}{f' and {len(groups)}' if groups is not None else ''}"
        )
    present = np.unique(codes)
    if classes and (present.min() < 0 or present.max() >= len(classes)):
        raise ValueError(f"labels from {present.min()} to {present.max()} do not fit {len(classes)} classes")
    names = {code: classes[code] if classes else str(code) for code in present.tolist()}
    if len(present) < 2:
        return []
    fold = _folds(codes, groups, seed)
    one_hot = codes[:, None] == present
    patterns: dict[bytes, tuple[NDArray[np.bool_], list[str]]] = {}
    leaks: list[Leak] = []
    for column in columns:
        cells, values = _cells(column, frame)
        auc = _aucs(_binned(cells) if column.kind in ("numerical", "date") else cells + 1, one_hot, fold)
        if len(values) > 1 and np.nanmax(auc, initial=0) >= AUC_LIMIT:
            leaks.append(_auc_leak((column.name,), "cells", auc, list(names.values()), question))
        counts = np.bincount(cells[cells >= 0], minlength=len(values))
        for code in np.flatnonzero(counts >= VALUE_SHARE * len(cells)).tolist():
            # The sentence is saved with results: values of fewer cases are not quoted.
            what = f"of {values[code]!r}" if counts[code] >= MIN_CASES else "of one value"
            leaks += _never((column.name,), values[code], what, cells == code, codes, names, question)
        missing = cells < 0
        if missing.any():
            patterns.setdefault(np.packbits(missing).tobytes(), (missing, []))[1].append(column.name)
    for missing, names_of_columns in patterns.values():
        auc = _aucs(missing.astype(np.int64), one_hot, fold)
        if not missing.all() and np.nanmax(auc, initial=0) >= AUC_LIMIT:
            leaks.append(_auc_leak(tuple(names_of_columns), "missingness", auc, list(names.values()), question))
        what = f"where {'it is' if len(names_of_columns) == 1 else 'they are'} missing"
        leaks += _never(tuple(names_of_columns), "", what, missing, codes, names, question)
    return sorted(leaks, key=lambda leak: (leak.sign, -leak.figure, leak.columns))


def _cells(column: Any, frame: pd.DataFrame) -> tuple[Codes, list[str]]:
    """A column's values as codes, -1 where missing, and the text of each code; numbers are not binned."""
    encoded = column.encode(frame)
    if encoded.dtype == np.int64:
        return encoded, list(column.categories)
    values, codes = np.unique(column.values(frame), return_inverse=True)
    n = int((~np.isnan(values)).sum())
    return np.where(codes < n, codes, -1).astype(np.int64), [f"{value:g}" for value in values[:n]]


def _aucs(bins: Codes, one_hot: NDArray[np.bool_], fold: Codes) -> Floats:
    """Cross-validated AUC of the bins for each class, shape ``(k,)``."""
    n_bins = int(bins.max()) + 1
    place = fold * n_bins + bins
    columns = [np.bincount(place, weights, FOLDS * n_bins) for weights in (*one_hot.T.astype(np.float64), None)]
    counts = np.stack(columns, axis=1).astype(np.float64).reshape(FOLDS, n_bins, -1)
    others = counts.sum(axis=0, keepdims=True) - counts
    prior = others.sum(axis=1, keepdims=True)
    prior = prior[..., :-1] / np.maximum(prior[..., -1:], 1)
    # The prior counts as one row of each value: a value that the other folds lack has no effect.
    share = (others[..., :-1] + prior) / (others[..., -1:] + 1)
    scores = share[fold, bins]
    return np.array([_auc(scores[:, c], one_hot[:, c]) for c in range(one_hot.shape[1])])


def _binned(cells: Codes) -> Codes:
    """Codes from 0, with missing as 0; many values are divided into bins of about equal size."""
    n_values, known = int(cells.max(initial=-1)) + 1, cells >= 0
    n_known = int(known.sum())
    if n_values <= 3 * BINS and (n_known >= 3 * n_values or n_known < _FEWEST):
        return cells + 1
    n_bins = min(BINS, n_known // MIN_CASES)
    edges = np.unique(np.quantile(cells[known], np.linspace(0, 1, n_bins + 1)[1:-1], method="lower"))
    return np.where(known, np.searchsorted(edges, cells, side="right") + 1, 0)


def _auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    ranks = pd.Series(scores).rank().to_numpy()
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _folds(codes: Codes, groups: Sequence[str] | None, seed: int) -> Codes:
    """The fold of each row: whole groups, stratified by the class of their first row."""
    n = len(codes)
    group_of = np.arange(n) if groups is None else pd.factorize(np.asarray([str(g) for g in groups], dtype=object))[0]
    first = np.unique(group_of, return_index=True)[1]
    order = np.random.default_rng(seed).permutation(len(first))
    order = order[np.argsort(codes[first[order]], kind="stable")]
    fold_of = np.empty(len(first), dtype=np.int64)
    fold_of[order] = np.arange(len(first)) % FOLDS
    return fold_of[group_of]


def _auc_leak(columns: tuple[str, ...], value: str, auc: Floats, names: Sequence[str], question: str) -> Leak:
    telling = [i for i in np.argsort(-auc).tolist() if auc[i] >= AUC_LIMIT]
    best = float(auc[telling[0]])
    figures = ", ".join(f"{names[i]!r} {auc[i]:.3f}" for i in telling)
    subject = _columns(columns) if value == "cells" else f"whether {_columns(columns)} {_is(columns)} missing"
    text = f"{subject} alone distinguishes classes from the rest, cross-validated AUC: {figures}. {question}"
    return Leak(columns, "auc", value, tuple(names[i] for i in telling), best, text)


def _never(
    columns: tuple[str, ...],
    value: str,
    what: str,
    rows: NDArray[np.bool_],
    codes: Codes,
    names: dict[int, str],
    question: str,
) -> list[Leak]:
    """A finding if some classes never occur with frequent rows.

    Args:
        columns: The columns.
        value: Their value; empty for missing cells.
        what: The value in words that may be saved with results.
        rows: The rows with the value, shape ``(n,)``.
        codes: Class of each row, shape ``(n,)``.
        names: The classes' names.
        question: The end of the sentence.
    """
    n = int(rows.sum())
    absent = _absent(rows, codes, names) if VALUE_SHARE * len(rows) <= n < len(rows) else {}
    if not absent:
        return []
    few = ", ".join(f"{name!r} ({expected:.0f} expected)" for name, expected in absent.items())
    text = f"{_columns(columns)}: the {n} rows {what} never occur with {few}. {question}"
    return [Leak(columns, "never", value, tuple(absent), float(n), text)]


def _absent(rows: NDArray[np.bool_], codes: Codes, names: dict[int, str]) -> dict[str, float]:
    """Classes that none of these rows has, with their expected number; empty if all are rare.

    There must be one class of at least 10% of all rows that is expected three times; then further classes that are
    expected five times are listed, too.
    """
    n = float(rows.sum())
    shares = {code: float((codes == code).mean()) for code in names if not (codes[rows] == code).any()}
    # Rounding may put a product of shares just below a whole number.
    telling = {code for code, share in shares.items() if share >= CLASS_SHARE and share * n >= EXPECTED - 1e-9}
    if not telling:
        return {}
    return {names[code]: share * n for code, share in shares.items() if share * n >= 5 or code in telling}


def _columns(columns: tuple[str, ...]) -> str:
    listed = ", ".join(map(repr, columns))
    return f"column {listed}" if len(columns) == 1 else f"columns {listed}"


def _is(columns: tuple[str, ...]) -> str:
    return "is" if len(columns) == 1 else "are"
