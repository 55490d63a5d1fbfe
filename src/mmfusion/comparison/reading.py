"""Reading and validation of a finished run's files.

The settings, the predictions and the metrics are required, all other files are optional. A file may be compressed,
``predictions.csv.gz``.
"""

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfusion.comparison.finished_run import PLUGINS, ROW, FinishedRun
from mmfusion.comparison.tuning_record import Tuning
from mmfusion.data.images.foreign_files import decompressed
from mmfusion.experiments import folder, held_out_cases
from mmfusion.experiments.file_digests import CONTENT
from mmfusion.experiments.settings import Settings
from mmfusion.option_checks import shown, takes
from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.result_files import parse_json

_MOST_BYTES = 2**29
"""Limit for one file: a compressed file of some kilobytes can hold gigabytes."""
_METRICS = {
    **{"notes": list, "cost": dict, "ceilings": dict[str, float], "cases": dict[str, int | None], ROW: str},
    **{"threshold": float | None, "temperature": float | None},
}
"""Types of some keys of the files, all optional."""
_CONTENT = {"data": dict[str, str], PLUGINS: list[str]}
_ENVIRONMENT = {"versions": dict | None, "commit": str | None, "device": str | None}
_EPOCH = {"epoch": int, "losses": dict, "validation": dict}
_CONDITION = {"kind": str, "metrics": dict}
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
    classes, parts, seed, fold = held_out_cases.parse(frame, folder.PREDICTIONS)
    if "test" not in parts:
        raise ValueError(f"{folder.PREDICTIONS} has no case of the test set")
    if seed != settings.run.seed:
        raise ValueError(f"{folder.PREDICTIONS} is of seed {seed}, {folder.SETTINGS} of seed {settings.run.seed}")
    environment = _optional(place, folder.ENVIRONMENT, _json)
    _expect(folder.ENVIRONMENT, {} if environment is None else environment, _ENVIRONMENT)
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
        n_train=metrics.get("cases", {}).get("train"),
        history=_expect_each(folder.HISTORY, _optional(place, folder.HISTORY, _json), _EPOCH),
        environment=environment,
        robustness=robustness and _expect_each(folder.ROBUSTNESS, robustness.get("rows", {}), _CONDITION),
        subgroups=_subgroups(_optional(place, folder.SUBGROUPS, _frame), parts["test"].ids),
        tuning=_optional(place, folder.TUNING, _tuning),
    )


def is_trial(place: Path) -> bool:
    """Whether a folder holds a finished run whose test set was not evaluated, a trial of settings.

    Args:
        place: Its folder.
    """
    if any(find(place, name) is None for name in (folder.SETTINGS, folder.METRICS)):
        return False
    try:
        run = _versioned(place, folder.SETTINGS).get("run")
    except ValueError:  # the reader of runs says what is wrong with it
        return False
    return isinstance(run, dict) and run.get("test") is False


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
        _expect(folder.METRICS, metrics, _METRICS)
        _expect(f"{folder.METRICS}: {CONTENT}", metrics.get(CONTENT, {}), _CONTENT)
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


def _tuning(place: Path, name: str) -> Tuning:
    try:
        return Tuning.from_dict(_versioned(place, name))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _frame(place: Path, name: str) -> pd.DataFrame:
    # Text: 007 is not 7, and a class may be called NA.
    try:
        return pd.read_csv(io.StringIO(text(place, name)), dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, OverflowError) as error:
        raise ValueError(f"{name} is not a table: {error}") from error


def _expect(name: str, content: Any, hints: Mapping[str, Any], required: bool = False) -> None:
    """Check the values of an object of a JSON file against their types.

    Args:
        name: The file, for messages.
        content: The object.
        hints: Type by key.
        required: Whether all keys must be present.

    Raises:
        ValueError: If it is no object, or a value is of another type.
    """
    if not isinstance(content, dict) or (required and not hints.keys() <= content.keys()):
        raise ValueError(f"{name} is not what a run writes, got {shown(content)}")
    for key, hint in hints.items():
        if key in content and not takes(content[key], hint):
            raise ValueError(f"{name}: {key} is not what a run writes, got {shown(content[key])}")


def _expect_each(name: str, content: Any, hints: Mapping[str, Any]) -> Any:
    """Check each object of a list, as :func:`_expect` does; None is none."""
    if not isinstance(content, list | None):
        raise ValueError(f"{name} is not what a run writes, got {shown(content)}")
    for entry in content or ():
        _expect(name, entry, hints, required=True)
    return content


def _subgroups(frame: pd.DataFrame | None, ids: NDArray[np.str_]) -> Mapping[str, NDArray[np.str_]] | None:
    if frame is None:
        return None
    if "id" not in frame or frame["id"].duplicated().any():
        raise ValueError(f"{folder.SUBGROUPS} expects a column 'id' with each case once")
    of_test = frame.set_index("id").reindex(ids).fillna("")
    return {str(name): of_test[name].to_numpy(dtype=str) for name in of_test.columns}
