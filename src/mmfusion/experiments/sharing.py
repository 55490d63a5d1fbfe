"""A folder that predicts and holds as little else of a run as possible."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from mmfusion.experiments import case_file, folder, locked
from mmfusion.experiments.settings import Settings
from mmfusion.training import checkpoints
from mmfusion.training.result_files import write_json

FILES = (folder.SETTINGS, folder.CASE, folder.LOCKED, checkpoints.BEST)
"""In the order in which they are written; the third one of a finished run alone."""

_CASE = ("dataset", "target", "spec", "reader")
_TRAIN = ("normalise", "eval_batch_size")


def share(run: str | Path, out: str | Path) -> list[Path]:
    """Write the least of a run that :func:`mmfusion.load` needs.

    Of the settings the model and its options, of the dataset how new cases are read, the weights, and the threshold and
    temperature. Not written are cases, splits, predictions, results, notes, the command, where anything was, and why
    columns are what they are.

    Args:
        run: Folder of a run with chosen weights.
        out: The new folder.

    Returns:
        The files.

    Raises:
        FileNotFoundError: If the folder does not hold a run, or has no chosen weights yet; names the file.
        FileExistsError: If ``out`` exists and is not an empty folder.
        ValueError: If a newer version of the package wrote the run, or its weights or ``case.json`` are damaged.
        mmfusion.training.result_files.WriteError: If a file cannot be written.
    """
    run, out = Path(run), Path(out)
    files = described(run)
    if not (run / checkpoints.BEST).is_file():
        raise FileNotFoundError(f"{run} has no trained weights yet: {checkpoints.BEST} is missing")
    weights = checkpoints.load(run / checkpoints.BEST)[0]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} already exists: choose another folder by out=...")
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_json(out / name, content)
    checkpoints.save(out / checkpoints.BEST, weights, {})
    return [out / name for name in FILES if (out / name).is_file()]


def described(run: Path) -> dict[str, dict[str, Any]]:
    """The files of :func:`share` but the weights: their contents by name.

    Raises:
        FileNotFoundError: If the folder does not hold a run; names the file.
        ValueError: If a newer version of the package wrote the run, or a file is damaged.
    """
    settings, case, kept = folder.read_settings(run), folder.read_case(run), locked.read(run)
    files = {
        folder.SETTINGS: {"format": checkpoints.FORMAT, **_settings(settings)},
        folder.CASE: {"format": checkpoints.FORMAT, **_case(case, run / folder.CASE)},
    }
    return files | ({folder.LOCKED: kept.to_dict()} if kept.finished else {})


def _settings(settings: Settings) -> dict[str, Any]:
    chosen, train = settings.run, settings.to_dict()["train"]
    model = dict(settings.model)
    if "weights" in model:
        model["weights"] = "none"  # those of the run are in its checkpoint
    return {
        "run": {
            "model": chosen.model,
            "dataset": chosen.dataset,
            "plugins": [without_folders(path) for path in chosen.plugins],
        },
        "train": {key: train[key] for key in _TRAIN},
        "model": without_folders(model),
    }


def _case(case: Mapping[str, Any], path: Path) -> dict[str, Any]:
    schema = case_file.read(case, path)[1].schema
    kept = {key: case[key] for key in _CASE if key in case}
    reader = dict(kept["reader"])
    if schema is not None:
        reader["schema"] = replace(schema, decisions=()).to_dict()
    reader["images"] = without_folders(reader["images"])
    return {**kept, "reader": reader}


def without_folders(value: Any) -> Any:
    """A value with each absolute path replaced by its file name."""
    if isinstance(value, Mapping):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [without_folders(each) for each in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value
