"""The folder of an exported run."""

import re
from pathlib import Path
from typing import Literal, get_args

import torch

from mmfusion.experiments import folder, sharing
from mmfusion.experiments.exporting import model_card, preprocessing
from mmfusion.experiments.predictor import Predictor
from mmfusion.models.export import ExportError, tensor_names, to_onnx, to_program
from mmfusion.models.pretrained import save_pretrained
from mmfusion.training.result_files import write_json, write_text

Format = Literal["onnx", "torch", "hub"]
FORMATS: tuple[Format, ...] = get_args(Format)
MODEL = {"onnx": "model.onnx", "torch": "model.pt2"}
PREPROCESSING = "preprocessing.json"
SCRIPT = "predict.py"
CARD = "README.md"
READING = "reading"
_IMPORT = re.compile(r"^from mmfusion\.([\w.]+) import (\(.*?\)|.*?)$", re.MULTILINE | re.DOTALL)
_USE = {
    "onnx": """\
`predict.py` needs numpy, pandas, Pillow and onnxruntime, neither mmfusion nor torch:

    python predict.py cases.csv --root images --out predictions.csv

`model.onnx` is the network, `preprocessing.json` what was fitted in training; `reading` reads cells and finds files.
A volume comes as a file of numpy, `scan.npy` for the table's `scan.nii.gz`, with the voxels as mmfusion decodes it.""",
    "torch": """\
`model.pt2` is a program of `torch.export`, which needs torch alone:

    import torch
    model = torch.export.load("model.pt2").module()
    logits = model(tensors)

`tensors` is a dictionary, for any number of cases, of: """,
    "hub": """\
With mmfusion, from files and a table, or as a module:

    import mmfusion as mmf
    mmf.load("FOLDER").predict(frame, image_root)
    model = mmf.from_pretrained("FOLDER")""",
}


def export(
    predictor: Predictor, place: Path, out: str | Path, *, format: Format = "onnx", license_of_data: str = ""
) -> list[Path]:
    """Write a run's model for use elsewhere, with a model card.

    Args:
        predictor: Of the run.
        place: The run's folder.
        out: The new folder.
        format: ``"onnx"``: an ONNX file, its preprocessing, and a script that predicts without mmfusion and torch.
            ``"torch"``: a program of ``torch.export``. ``"hub"``: a folder that :func:`mmfusion.load` and
            :func:`mmfusion.from_pretrained` read, in the layout of the Hugging Face hub.
        license_of_data: For the card; empty: what the run's notes say.

    Returns:
        The files.

    Raises:
        FileExistsError: If ``out`` exists and is not an empty folder.
        mmfusion.models.export.ExportError: If a part of the model or of its preprocessing cannot be exported.
        ValueError: If the format is unknown, or a file of the run is damaged.
    """
    out = Path(out)
    if format not in FORMATS:
        raise ValueError(f"format expects one of {', '.join(FORMATS)}, got {format!r}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} already exists: choose another folder by out=...")
    settings, use = folder.read_settings(place), _USE[format]
    if format == "torch":
        use += ", ".join(f"`{name}`" for name in tensor_names(predictor.model, predictor.spec))
    text = model_card.card(place, settings, predictor, use=use, license_of_data=license_of_data)
    if format == "hub":
        _write_hub(predictor, place, out)
    else:
        _write_model(predictor, out, format)
    write_text(out / CARD, text)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _write_model(predictor: Predictor, out: Path, format: Literal["onnx", "torch"]) -> None:
    about = preprocessing.described(predictor) if format == "onnx" else {}
    program = to_program(predictor.model, predictor.spec)
    out.mkdir(parents=True, exist_ok=True)
    if format == "torch":
        torch.export.save(program, out / MODEL[format])
        return
    to_onnx(program, out / MODEL[format])
    write_json(out / PREPROCESSING, about)
    write_text(out / SCRIPT, script())
    (out / READING).mkdir()
    write_text(out / READING / "__init__.py", '"""Cells and files, read as mmfusion reads them."""\n')
    for module in _used("experiments.exporting.stand_alone"):
        write_text(out / READING / f"{module.rpartition('.')[2]}.py", _alone(module))


def _write_hub(predictor: Predictor, place: Path, out: Path) -> None:
    """What :func:`mmfusion.load` and :func:`mmfusion.from_pretrained` read; the weights are there once."""
    files = sharing.described(place)
    try:
        save_pretrained(predictor.model, out)
    except ValueError as error:
        raise ExportError(f"the model cannot be written for a hub: {error}") from error
    for name, content in files.items():
        write_json(out / name, content)


def script() -> str:
    """The text of ``predict.py``."""
    return _alone("experiments.exporting.stand_alone")


def _used(module: str) -> set[str]:
    """The modules of mmfusion that a module imports, and those that they import; they go with the script as they are.

    They need no torch, and their names differ.
    """
    found: set[str] = set()
    left = [module]
    while left:
        for origin, names in _IMPORT.findall(_text(left.pop())):
            modules = [origin] if _path(origin).is_file() else [f"{origin}.{n}" for n in re.findall(r"\w+", names)]
            left += [name for name in modules if name not in found]
            found.update(modules)
    return found


def _alone(module: str) -> str:
    """A module's text, with imports from ``reading`` in the place of mmfusion's."""

    def renamed(match: re.Match[str]) -> str:
        inner = f".{match[1].rpartition('.')[2]}" if _path(match[1]).is_file() else ""
        return f"from {READING}{inner} import {match[2]}"

    return _IMPORT.sub(renamed, _text(module))


def _text(module: str) -> str:
    return _path(module).read_text(encoding="utf-8")


def _path(module: str) -> Path:
    return Path(__file__).parents[2].joinpath(*module.split(".")).with_suffix(".py")
