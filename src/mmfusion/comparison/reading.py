"""Reading and validation of a finished run's files.

The settings, the predictions and the metrics are required, all other files are optional. A file may be compressed,
``predictions.csv.gz``.
"""

import io
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.comparison.finished_run import PLUGINS, ROW, Cases, FinishedRun
from mmfusion.experiments import folder
from mmfusion.experiments.file_digests import CONTENT
from mmfusion.experiments.settings import Settings
from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.result_files import parse_json
from mmfusion.utils.foreign_files import decompressed

_COLUMNS = ("id", "group", "part", "label", "fold", "seed")
_PROBABILITY = "prob_"
_MOST_BYTES = 2**29
"""Limit for one file: a compressed file of some kilobytes can hold gigabytes."""
_DAMAGE = (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError)
"""Errors raised by files that are valid JSON or CSV, but not what a run writes."""


def read(place: Path) -> FinishedRun:
    """Read a finished run.

    Args:
        place: Its folder.

    Raises:
        FileNotFoundError: If it is unfinished, or a required file is missing.
        ValueError: If another version wrote it, or a file cannot be read or contradicts another.
    """
    try:
        return _read(place)
    except _DAMAGE as error:
        raise ValueError(f"its files are not what a run writes: {type(error).__name__} {error!s:.200}") from error


def _read(place: Path) -> FinishedRun:
    missing = [name for name in (folder.SETTINGS, folder.PREDICTIONS) if find(place, name) is None]
    if missing:
        raise FileNotFoundError(f"{' and '.join(missing)} missing")
    if find(place, folder.METRICS) is None:
        raise FileNotFoundError(f"unfinished: {folder.METRICS} is missing")
    content = _versioned(place, folder.SETTINGS)
    metrics = read_metrics(place)
    try:
        settings = Settings.from_file({key: value for key, value in content.items() if key != "format"})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder.SETTINGS}: {error}") from error
    frame = _frame(place, folder.PREDICTIONS)
    classes, parts, seed, fold = _predictions(frame)
    if seed != settings.run.seed:
        raise ValueError(f"{folder.PREDICTIONS} is of seed {seed}, {folder.SETTINGS} of seed {settings.run.seed}")
    split = _optional(place, folder.SPLITS, _frame)
    if split is not None and "part" not in split:
        raise ValueError(f"{folder.SPLITS} has no column 'part'")
    robustness = _optional(place, folder.ROBUSTNESS, _versioned)
    return FinishedRun(
        folder=place,
        settings=settings,
        row=metrics.get(ROW),
        classes=classes,
        seed=seed,
        fold=fold,
        test=parts["test"],
        validation=parts.get("validation"),
        metrics=metrics,
        n_train=_n_train(metrics) if split is None else int((split["part"] == "train").sum()),
        history=_checked_history(_optional(place, folder.HISTORY, _json)),
        environment=_checked_environment(_optional(place, folder.ENVIRONMENT, _json)),
        robustness=_rows_of_metrics(metrics) if robustness is None else _checked_robustness(robustness),
        subgroups=_subgroups(_optional(place, folder.SUBGROUPS, _frame), parts["test"].ids),
    )


def read_metrics(place: Path) -> dict[str, Any]:
    """``metrics.json`` of a finished run.

    Args:
        place: Its folder.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If another version wrote it, or it cannot be read or is not what a run writes.
    """
    try:
        metrics = _versioned(place, folder.METRICS)
        _check_metrics(metrics)
    except _DAMAGE as error:
        raise ValueError(f"{folder.METRICS} is not what a run writes: {type(error).__name__} {error!s:.200}") from error
    return metrics


def find(place: Path, name: str) -> Path | None:
    """Path of a file of a run, plain or compressed; None if it is absent."""
    for path in (place / name, place / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _optional(place: Path, name: str, reader: Any) -> Any:
    return None if find(place, name) is None else reader(place, name)


def text(place: Path, name: str) -> str:
    """Text of a file of a run, plain or compressed.

    Raises:
        FileNotFoundError: If it is absent.
        ValueError: If it cannot be read.
    """
    path = find(place, name)
    if path is None:
        raise FileNotFoundError(f"{name} missing")
    try:
        with decompressed(path) as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"it holds more than {_MOST_BYTES} bytes")
        return content.decode("utf-8")
    except (ValueError, OSError, EOFError, zlib.error, MemoryError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error


def _json(place: Path, name: str) -> Any:
    content = text(place, name)
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from error


def _versioned(place: Path, name: str) -> dict[str, Any]:
    content = _json(place, name)
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise ValueError(f"{name} was not written by mmfusion: it has no format number")
    if content["format"] != FORMAT:
        age = "a newer" if content["format"] > FORMAT else "an older"
        raise ValueError(f"{name} has format {content['format']} of {age} version, this one reads {FORMAT}")
    return content


def _frame(place: Path, name: str) -> pd.DataFrame:
    # Text: 007 is not 7, and a class may be called NA.
    try:
        return pd.read_csv(io.StringIO(text(place, name)), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError) as error:
        raise ValueError(f"{name} is not a table: {error}") from error


def _predictions(frame: pd.DataFrame) -> tuple[tuple[str, ...], dict[str, Cases], int, int]:
    """Class names, cases by set, seed and fold."""
    name = folder.PREDICTIONS
    columns = [column for column in frame.columns if column.startswith(_PROBABILITY)]
    absent = [column for column in _COLUMNS if column not in frame.columns]
    if absent or len(columns) < 2:
        raise ValueError(
            f"{name} expects the columns {', '.join(_COLUMNS)} and two or more {_PROBABILITY}<class>, got "
            f"{', '.join(map(str, frame.columns))}"
        )
    classes = tuple(column.removeprefix(_PROBABILITY) for column in columns)
    numbers = frame[[*columns, "fold", "seed"]].apply(pd.to_numeric, errors="coerce")
    p = numbers[columns].to_numpy(dtype=np.float64)
    if not np.isfinite(p).all():
        bad = int((~np.isfinite(p)).any(axis=1).sum())
        raise ValueError(f"{name}: the probabilities of {bad} out of {len(p)} cases are not finite")
    if (p < 0).any() or (np.abs(p.sum(axis=1) - 1) > 0.01).any():
        raise ValueError(f"{name}: probabilities expect values from 0 to 1 that sum to 1 in each case")
    if unknown := sorted(set(frame["label"]) - set(classes)):
        raise ValueError(f"{name} has labels without a column of probabilities: {', '.join(unknown)}")
    labels = pd.Categorical(frame["label"], categories=list(classes)).codes.astype(np.int64)
    numbers_of_run = {}
    for key in ("seed", "fold"):
        values = sorted(set(numbers[key]))
        if len(values) != 1 or not float(values[0]).is_integer():
            raise ValueError(f"{name} expects one {key}, got {', '.join(sorted(set(frame[key])))}")
        numbers_of_run[key] = int(values[0])
    parts = {}
    for part in ("validation", "test"):
        rows = np.flatnonzero((frame["part"] == part).to_numpy())
        if not len(rows):
            continue
        ids = frame["id"].to_numpy(dtype=str)[rows]
        if len(set(ids)) < len(ids):
            raise ValueError(f"{name} has an id more than once in the {part} set")
        groups = frame["group"].to_numpy(dtype=str)[rows]
        parts[part] = Cases(ids, groups, labels[rows], p[rows])
    if "test" not in parts:
        raise ValueError(f"{name} has no case of the test set")
    return classes, parts, numbers_of_run["seed"], numbers_of_run["fold"]


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    for key, kind in (("notes", list), ("cost", dict), ("ceilings", dict)):
        if not isinstance(metrics.get(key, kind()), kind):
            raise ValueError(f"{folder.METRICS}: {key} is not what a run writes")
    for key in ("threshold", "temperature"):
        value = metrics.get(key)
        if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
            raise ValueError(f"{folder.METRICS}: {key} expects a number, got {value!r}")
    if not all(isinstance(ceiling, int | float) for ceiling in metrics.get("ceilings", {}).values()):
        raise ValueError(f"{folder.METRICS}: ceilings expects numbers, got {metrics['ceilings']!r:.200}")
    read = metrics.get(CONTENT, {})
    data, plugins = (read.get("data", {}), read.get(PLUGINS, [])) if isinstance(read, dict) else (None, None)
    if not isinstance(data, dict) or not isinstance(plugins, list):
        raise ValueError(f"{folder.METRICS}: {CONTENT} is not what a run writes")
    if not all(isinstance(digest, str) for digest in (*data.values(), *plugins)):
        raise ValueError(f"{folder.METRICS}: {CONTENT} expects digests of files")
    if not isinstance(metrics.get(ROW, ""), str):
        raise ValueError(f"{folder.METRICS}: {ROW} expects a name, got {metrics[ROW]!r}")


def _n_train(metrics: Mapping[str, Any]) -> int | None:
    cases = metrics.get("cases")
    n = cases.get("train") if isinstance(cases, Mapping) else None
    return n if isinstance(n, int) else None


def _checked_history(history: Any) -> Sequence[Mapping[str, Any]] | None:
    if history is None:
        return None
    if not isinstance(history, list) or not all(
        isinstance(entry, dict)
        and isinstance(entry.get("epoch"), int)
        and isinstance(entry.get("losses"), dict)
        and isinstance(entry.get("validation"), dict)
        for entry in history
    ):
        raise ValueError(f"{folder.HISTORY} is not what a run writes")
    return history


def _checked_environment(environment: Any) -> Mapping[str, Any] | None:
    if environment is None:
        return None
    if not isinstance(environment, dict) or not isinstance(environment.get("versions") or {}, dict):
        raise ValueError(f"{folder.ENVIRONMENT} is not what a run writes")
    for key in ("commit", "device"):
        if not isinstance(environment.get(key), str | None):
            raise ValueError(f"{folder.ENVIRONMENT}: {key} expects a text, got {environment[key]!r:.80}")
    return environment


def _checked_robustness(content: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    rows = content.get("rows")
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("kind"), str) and isinstance(row.get("metrics"), dict)
        for row in rows
    ):
        raise ValueError(f"{folder.ROBUSTNESS} is not what a run writes")
    return rows


def _rows_of_metrics(metrics: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
    """Rows of ``metrics.json``, for a run without ``robustness.json``: AUC and drop without intervals."""
    robustness = metrics.get("robustness")
    if robustness is None:
        return None
    rows = robustness.get("rows") if isinstance(robustness, Mapping) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("kind"), str) for row in rows
    ):
        raise ValueError(f"{folder.METRICS}: robustness is not what a run writes")
    return [{**row, "metrics": {"auc": {"value": row.get("auc")}}, "drop": {"value": row.get("drop")}} for row in rows]


def _subgroups(frame: pd.DataFrame | None, ids: NDArray[np.str_]) -> Mapping[str, NDArray[np.str_]] | None:
    if frame is None:
        return None
    if "id" not in frame or frame["id"].duplicated().any():
        raise ValueError(f"{folder.SUBGROUPS} expects a column 'id' with each case once")
    of_test = frame.set_index("id").reindex(ids).fillna("")
    return {str(name): of_test[name].to_numpy(dtype=str) for name in of_test.columns}
