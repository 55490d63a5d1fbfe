"""A run's folder: what is in it, and when it may be made."""

from pathlib import Path
from typing import Any

from mmfusion.training import checkpoints
from mmfusion.training.files import read_json
from mmfusion.training.settings import Settings

SETTINGS = "settings.json"
CASE = "case.json"
SPLITS = "splits.csv"
HISTORY = "history.json"
ENVIRONMENT = "environment.json"
PREDICTIONS = "predictions.csv"
CURVE = "curve.png"
ROBUSTNESS = "robustness.json"
SUBGROUPS = "subgroups.csv"
METRICS = "metrics.json"
"""Written last: a folder that has it is finished."""

DIVERGED = "diverged.json"
"""Only of a run that diverged: how."""

FILES = (
    METRICS,
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
    """Where a run goes that was not told: a folder for each seed, and for each fold where one is asked for."""
    run, fold = settings.run, settings.data.get("fold")
    return Path("runs") / run.dataset / run.model / (f"seed{run.seed}" + ("" if fold is None else f"-fold{fold}"))


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds anything; nothing is changed yet.

    Args:
        folder: Where a new run would go.
        overwrite: Whether a former run may be replaced. Files of anybody else's never are.

    Raises:
        FileExistsError: Saying what to do.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: choose another folder with --out")
    if (folder / SETTINGS).exists():
        if not overwrite:
            raise FileExistsError(
                f"{folder} already holds a run: go on with it by --resume {folder}, replace it by --overwrite, or "
                "choose another folder with --out"
            )
    elif any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds other files than a run's: choose another folder with --out")


def create(folder: Path) -> None:
    """Make the folder, with its parents; a former run's files are removed, and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*FILES, DIVERGED):
        (folder / name).unlink(missing_ok=True)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Remove what a kill in the middle of writing left behind."""
    for name in (*FILES, DIVERGED):
        for part in folder.glob(f".{name}.*.part"):
            part.unlink(missing_ok=True)


def read_settings(folder: Path) -> Settings:
    """The settings of the run in a folder.

    Raises:
        FileNotFoundError: If there is no run; names the file that is missing.
        ValueError: If a newer version of the package wrote it.
    """
    packed = dict(_read(folder, SETTINGS))
    checkpoints.check_format(folder / SETTINGS, packed)
    packed.pop("format")
    return Settings.from_dict(packed)


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
    return read_json(path)
