"""A run's folder: its files, and when it may be created."""

import glob
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmfusion.data.whole_files import SUFFIX, prefix, umask
from mmfusion.experiments.settings import Settings
from mmfusion.training import checkpoints
from mmfusion.training.result_files import WriteError, as_json, read_json, write_bytes, write_text

SETTINGS = "settings.json"
CASE = "case.json"
SPLITS = "splits.csv"
HISTORY = "history.json"
ENVIRONMENT = "environment.json"
PREDICTIONS = "predictions.csv"
CURVE = "curve.png"
ROBUSTNESS = "robustness.json"
SUBGROUPS = "subgroups.csv"
LOCKED = "locked.json"
"""Threshold and temperature, see :mod:`mmfusion.experiments.locked`."""

METRICS = "metrics.json"
"""Written last: a folder that has it is finished."""

DIVERGED = "diverged.json"
"""Only of a run that diverged: how."""

TUNING = "tuning.json"
"""Only of a run whose settings were chosen by trials: how; a sweep writes it."""

FILES = (
    METRICS,
    LOCKED,
    SUBGROUPS,
    ROBUSTNESS,
    CURVE,
    PREDICTIONS,
    ENVIRONMENT,
    HISTORY,
    checkpoints.LAST,
    checkpoints.BEST,
    SPLITS,
    CASE,
    SETTINGS,
)
"""In the order in which they are removed: what marks a run as finished first, what marks it as a run last."""


def default(settings: Settings) -> Path:
    """Default folder of a run: one per model, dataset and :func:`name`."""
    return Path("runs") / settings.run.dataset / settings.run.model / name(settings)


def name(settings: Settings) -> str:
    """Seed, repeat and fold of a run: ``seed0``, with ``-repeat1`` for a perturbed start and ``-fold2`` for a fold."""
    run, fold = settings.run, settings.data.get("fold")
    repeat = f"-repeat{run.repeat}" if run.repeat else ""
    return f"seed{run.seed}{repeat}" + ("" if fold is None else f"-fold{fold}")


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise an error if a folder holds anything; nothing is changed yet.

    Args:
        folder: Where a new run would go.
        overwrite: Whether a former run may be replaced. Other files are never replaced.

    Raises:
        FileExistsError: If it holds a run or other files; says what to do.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: choose another folder (run.out)")
    if (folder / SETTINGS).exists():
        if not overwrite:
            raise FileExistsError(
                f"{folder} already holds a run: continue it with resume='{folder}', replace it with overwrite=True, or "
                "choose another folder (run.out)"
            )
    elif any(not _is_unfinished(path) for path in folder.iterdir()):
        raise FileExistsError(f"{folder} holds files that are not a run's: choose another folder (run.out)")


def create(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder, with its parents and its first file, in one step: a kill leaves no folder without settings.

    A former run's files are removed, and nothing else; its settings stay until the new ones are in their place.

    Args:
        folder: Free, see :func:`check_free`.
        settings: The content of ``settings.json``.

    Raises:
        WriteError: If the disk is full or the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    content = as_json(settings)
    if not folder.exists():
        if _moved_in(folder, content):
            return
        folder.mkdir(exist_ok=True)
    for name in (*FILES[: FILES.index(SETTINGS)], DIVERGED, TUNING):
        (folder / name).unlink(missing_ok=True)
    # Finished outside: an empty folder stays empty until the file is whole.
    near = folder.absolute().parent
    outside = os.access(near, os.W_OK) and near.stat().st_dev == folder.stat().st_dev
    write_bytes(folder.absolute() / SETTINGS, content.encode(), via=near if outside else None)


def _moved_in(folder: Path, content: str) -> bool:
    """Whether a new folder with its settings took its place; False where the system does not let it."""
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=SUFFIX))
    try:
        fresh.chmod(0o777 & ~umask())
        write_text(fresh / SETTINGS, content)
        fresh.rename(folder)
    except WriteError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        # The folder that the user named, not the temporary one.
        raise WriteError(str(error).replace(str(fresh), str(folder))) from error
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        return False
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return True


def sweep(folder: Path) -> None:
    """Remove what a kill in the middle of writing left behind, in the folder and next to it."""
    if folder.is_dir():
        for path in folder.iterdir():
            if _is_unfinished(path):
                path.unlink(missing_ok=True)
    place = folder.absolute()
    settings = prefix(place / SETTINGS, place.parent)
    for path in place.parent.glob(f"{glob.escape(f'.{place.name}.')}*{SUFFIX}"):
        if path.is_dir() and all(file.name.startswith((SETTINGS, prefix(path / SETTINGS))) for file in path.iterdir()):
            shutil.rmtree(path, ignore_errors=True)
        elif path.is_file() and path.name.startswith(settings):
            path.unlink(missing_ok=True)


def _is_unfinished(path: Path) -> bool:
    """Whether a file is what a kill left of one of a run's."""
    prefixes = [prefix(path.with_name(name)) for name in (*FILES, DIVERGED, TUNING)]
    return path.name.endswith(SUFFIX) and path.name.startswith(tuple(prefixes))


def check_results(folder: Path, result: str, what: str) -> None:
    """Raise an error if a folder holds other files than former results, which may be replaced.

    Args:
        folder: Need not exist.
        result: Name of the file that a folder of such results has.
        what: The results, for the message: ``"an evaluation"``.

    Raises:
        FileExistsError: Saying what to do.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / result).is_file())):
        raise FileExistsError(f"{folder} holds other files than {what}'s: choose another folder by out=...")


def home(place: Path) -> Path:
    """The folder of a run that is named by it, or by a file of weights in it."""
    return place.parent if place.is_file() else place


def read_settings(folder: Path) -> Settings:
    """The settings of the run in a folder.

    Raises:
        FileNotFoundError: If there is no run; names the file that is missing.
        ValueError: If a newer version of the package wrote it.
    """
    packed = dict(_read(folder, SETTINGS))
    checkpoints.check_format(folder / SETTINGS, packed)
    packed.pop("format")
    return Settings.from_file(packed)


def read_case(folder: Path) -> dict[str, Any]:
    """``case.json``: the dataset's spec and reader.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If a newer version of the package wrote it.
    """
    packed = dict(_read(folder, CASE))
    checkpoints.check_format(folder / CASE, packed)
    return packed


def _read(folder: Path, name: str) -> Any:
    path = folder / name
    if not folder.is_dir():
        raise FileNotFoundError(f"no run folder {folder}")
    if not path.is_file():
        raise FileNotFoundError(f"{folder} does not hold a run: {name} is missing")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a file of mmfusion: expected an object, got {type(content).__name__}")
    return content
