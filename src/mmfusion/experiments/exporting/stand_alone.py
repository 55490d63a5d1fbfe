"""Predict new cases with an exported model, without mmfusion or torch.

    python predict.py cases.csv --root images --out predictions.csv

It needs numpy, pandas, Pillow and onnxruntime. Beside it are the model,
the preprocessing that was fitted in training, and in ``reading`` the
functions that read cells and find files.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from PIL import Image, ImageOps

from mmfusion.data.images.bag_cells import BagFiles, bag_files
from mmfusion.data.images.listing import Listing
from mmfusion.data.schema import cells, number_cells, table_file
from mmfusion.data.schema.numerals import Notation
from mmfusion.experiments import spreadsheet

HERE = Path(__file__).parent
Array = np.ndarray[Any, Any]
About = dict[str, Any]
VOLUMES = (".gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".npy")


def numbers(frame: pd.DataFrame, about: About) -> tuple[Array, Array]:
    """A column's standardized numbers, NaN if missing, and bounds."""
    column = cells.one_column(frame, about["source"])
    missing = about["missing"]
    if about["kind"] == "date":
        read = number_cells.read_date_column(
            column, about["formats"], missing
        )
    else:
        read = number_cells.read_column(
            column,
            Notation(**about["notation"]),
            missing,
            units=about["units"],
            part=about["part"],
            words=about["words"],
        )
    if about["invalid"] == "error":
        cells.refuse_cells(
            column, about["source"], read.invalid, about["holds"]
        )
    values, (low, high) = read.values, about["limits"]
    if about["censored"] == "missing":
        values[read.bounds != 0] = np.nan
    if about["outside"] == "clip":
        values = np.clip(values, low, high)
    values[(values < low) | (values > high)] = np.nan
    return (values - about["mean"]) / about["std"], read.bounds


def codes(frame: pd.DataFrame, about: About) -> Array:
    """A column's categories as codes, -1 if missing."""
    column = cells.one_column(frame, about["source"])
    places, texts = cells.distinct(column, about["missing"])
    other = about["other"]
    known = [about["codes"].get(cells.key(text), other) for text in texts]
    if about["numbers_only"]:
        is_number = np.isfinite(cells.parse_numbers(texts))
        known = np.where(is_number, known, -1).tolist()
    return np.array([*known, -1], dtype=np.int64)[places]


def table(frame: pd.DataFrame, about: About) -> tuple[Array, Array]:
    """All columns: numbers (n, n_num), codes (n, n_cat)."""
    cells.require_columns(frame, about["sources"])
    numerical, flags = [np.empty((len(frame), 0))], []
    for column in about["numerical"]:
        values, bounds = numbers(frame, column)
        numerical.append(values[:, None])
        if column["censored"] == "flag":
            flag = np.select([bounds < 0, bounds > 0], [1, 2], 0)
            flags.append(np.where(np.isnan(values), -1, flag))
    categorical = [codes(frame, column) for column in about["categorical"]]
    both = [np.empty((len(frame), 0)), *(c[:, None] for c in categorical)]
    both += [flag[:, None] for flag in flags]
    return (
        np.concatenate(numerical, axis=1).astype(np.float32),
        np.concatenate(both, axis=1).astype(np.int64),
    )


def photograph(path: Path, about: About) -> Array:
    """An image's pixels, (channels, height, width) uint8."""
    channels, height, width = about["shape"]
    Image.MAX_IMAGE_PIXELS = None  # the limit of the run is checked here
    with Image.open(path) as file:
        if file.width * file.height * 4 > about["max_bytes"]:
            raise ValueError(f"{file.width} x {file.height} is too large")
        if file.format == "EPS":
            raise ValueError("it is EPS, a program: convert it")
        file.load()
        file.info.pop("transparency", None)
        image: Image.Image = ImageOps.exif_transpose(file)
    deep = image.mode == "F" or image.mode.startswith("I")
    if not deep:
        image = image.convert("RGB" if channels == 3 else "L")
    elif image.mode != "F":
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    elif about["range"] is None:
        raise ValueError("its pixels are floating-point numbers")
    if image.size != (width, height):
        size = (width, height)
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    if deep:
        low, high = about["range"] or (0.0, 2.0 ** about["bits"] - 1)
        odd = not np.isfinite(pixels).all()
        if odd or (
            about["range"] is None
            and (pixels.min() < low or pixels.max() > high)
        ):
            raise ValueError(f"its values are not from {low} to {high}")
        grey = np.clip((pixels - low) * (255 / (high - low)), 0, 255)
        grey = (grey + 0.5).astype(np.uint8)
        return np.repeat(grey[None], channels, axis=0)
    pixels = pixels.reshape(height, width, channels)
    if about["order"] == "bgr":
        pixels = pixels[..., ::-1]
    return np.moveaxis(pixels, -1, 0)


def volume(path: Path, about: About) -> Array:
    """A volume's voxels from files of numpy, in the model's shape."""
    parts = about["parts"] or [path.name]
    files = [array_name(part) for part in parts]
    voxels = [np.load(path.parent / file) for file in files]
    size = tuple(about["shape"][1:])
    for file, x in zip(files, voxels):
        if x.shape not in (size, (1, *size)):
            raise ValueError(f"{file} is {x.shape}, expected {size}")
    stacked = np.stack([x.reshape(size) for x in voxels])
    return stacked.astype(np.float16)


def array_name(name: str) -> str:
    """The name of a volume's file, with the ending of numpy."""
    for ending in VOLUMES:
        name = name.removesuffix(ending)
    return f"{name}.npy"


def found_as(name: str, about: About) -> list[str]:
    """The names, below a folder, of the file that a table names so."""
    whole = Path(name + about["suffix"])
    if about["kind"] == "image":
        others = (str(whole.with_suffix(e)) for e in about["endings"])
        return [str(whole), *others]
    if about["parts"]:
        return [str(whole / array_name(about["parts"][0]))]
    return [array_name(str(whole))]


def find(root: Path, text: str, about: About, files: Listing) -> BagFiles:
    """The files that a cell names: one, or several if the run had them."""

    def one(name: str) -> Path | None:
        names = found_as(name, about)
        places = (os.path.join(f, n) for n in names for f in about["folders"])
        return next((p for x in places if (p := files.file(root, x))), None)

    def several(pattern: str) -> list[Path]:
        for folder in about["folders"]:
            name = os.path.join(folder, found_as(pattern, about)[0])
            names = files.matches(root, name)
            if found := [p for n in names if (p := files.file(root, n))]:
                return found
        return []

    return bag_files(text, one, several, about["bag"])


def paths(
    frame: pd.DataFrame, root: Path, about: About, missing_images: str
) -> list[tuple[Path, ...]]:
    """The files of each row; none if the case lacks the image."""
    cells.require_columns(frame, about["columns"])
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}")
    listing, found, absent, excess = Listing(), [], [], []
    columns = {name: cells.texts(frame, name) for name in about["columns"]}
    for i in range(len(frame)):
        row = {name: texts[i] for name, texts in columns.items()}
        cell = str(list(row.values()))
        of_row = BagFiles((), (cell,))
        if None not in row.values():
            name = "".join(
                t + (row[c] or "" if c else "") for t, c in about["pieces"]
            )
            of_row = find(root, name, about, listing)
        found.append(of_row.paths)
        for name in of_row.lacking:
            named = name if about["bag"] > 1 else cell
            absent.append(f"row {frame.index[i]}: {named}")
        if len(of_row.paths) > about["bag"]:
            excess.append(f"row {frame.index[i]}: {len(of_row.paths)}")
    if absent and missing_images == "error":
        raise FileNotFoundError(
            f"{len(absent)} image(s) are not in {root}: "
            f"{'; '.join(absent[:10])}. --missing-images absent predicts "
            "such cases without the image"
        )
    if excess:
        listed = "; ".join(excess[:10])
        raise ValueError(f"more images than {about['bag']}: {listed}")
    return found


def scaled(x: Array, how: About | None) -> Array:
    """Images as float32, their intensities as in training."""
    x = x.astype(np.float32) / np.float32(255 if x.dtype == np.uint8 else 1)
    if how is None:
        return x
    if how["clip"] is not None:
        low, high = how["clip"]
        x = np.clip(x, np.float32(low), np.float32(high))
    if how["standardize"] == "none":
        return x
    if how["standardize"] == "sequence":
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean = np.array(how["mean"], np.float32).reshape(shape)
        std = np.array(how["std"], np.float32).reshape(shape)
        return np.asarray((x - mean) / std)
    first = 2 if how["standardize"] == "channel" else 1
    axes = tuple(range(first, x.ndim))
    low, high = x.min(axes, keepdims=True), x.max(axes, keepdims=True)
    mean = x.mean(axes, np.float64, keepdims=True)
    std = x.std(axes, np.float64, keepdims=True)
    std = np.where(high > low, std, 1.0)
    out = np.where(high > low, (x - mean) / std, x - low)
    return np.asarray(out, dtype=np.float32)


def images(files: list[tuple[Path, ...]], about: About) -> Array:
    """A batch of images, zeros where a case lacks one; bags (n, k, ...)."""
    decode = photograph if about["kind"] == "image" else volume
    kind = np.uint8 if about["kind"] == "image" else np.float16
    k = masks(files).shape[1]
    out = np.zeros((len(files) * k, *about["shape"]), dtype=kind)
    for i, of_case in enumerate(files):
        for j, path in enumerate(of_case):
            try:
                out[i * k + j] = decode(path, about)
            except (OSError, ValueError) as error:
                raise ValueError(f"{path} cannot be read: {error}") from error
    x = scaled(out, about["intensity"])
    return x if about["bag"] == 1 else x.reshape(len(files), k, *x.shape[1:])


def masks(files: list[tuple[Path, ...]]) -> Array:
    """Which of the places for images have one, (n, k)."""
    sizes = np.array([len(of_case) for of_case in files])
    return np.asarray(np.arange(max(1, *sizes)) < sizes[:, None])


def inputs(
    frame: pd.DataFrame, root: Path, about: About, missing_images: str
) -> tuple[dict[str, Array], dict[str, list[tuple[Path, ...]]]]:
    """The model's tensors but images, and the images' files."""
    n = len(frame)
    tensors: dict[str, Array] = {}
    files: dict[str, list[tuple[Path, ...]]] = {}
    lacking = []
    for name, image in about["images"].items():
        if set(image["columns"]) & set(frame.columns):
            files[name] = paths(frame, root, image, missing_images)
        elif missing_images == "absent":
            files[name] = [()] * n
            lacking += image["columns"]
        else:
            cells.require_columns(frame, image["columns"])
        here = [len(of_case) > 0 for of_case in files[name]]
        tensors[f"{name}.present"] = np.array(here)
    for name, columns in about["tables"].items():
        present = bool(set(columns["sources"]) & set(frame.columns))
        if present:
            numerical, categorical = table(frame, columns)
        else:
            lacking += columns["sources"]
            n_num, n_cat = columns["sizes"]
            numerical = np.full((n, n_num), np.nan, dtype=np.float32)
            categorical = np.full((n, n_cat), -1, dtype=np.int64)
        tensors[f"{name}.numerical"] = numerical
        tensors[f"{name}.categorical"] = categorical
        tensors[f"{name}.present"] = np.full(n, present)
    if not set(about["columns"]) - set(lacking):
        cells.require_columns(frame, lacking)
    return tensors, files


def predict(
    frame: pd.DataFrame,
    root: str | Path = ".",
    *,
    missing_images: str = "error",
    batch_size: int = 64,
    folder: Path = HERE,
) -> pd.DataFrame:
    """One row per case: its name, probabilities and label.

    Args:
        frame: One case per row, with the columns of training.
        root: The folder that the names of images are relative to.
        missing_images: "error" or "absent", the case lacks it.
        batch_size: Cases at a time.
        folder: The export.
    """
    text = (folder / "preprocessing.json").read_text(encoding="utf-8")
    about = json.loads(text)
    if not len(frame):
        raise ValueError("the table has no rows")
    tensors, files = inputs(frame, Path(root), about, missing_images)
    model = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    used = [tensor.name for tensor in model.get_inputs()]
    outputs = []
    for start in range(0, len(frame), batch_size):
        rows = slice(start, start + batch_size)
        batch = {name: x[rows] for name, x in tensors.items()}
        for name, of_name in files.items():
            batch[name] = images(of_name[rows], about["images"][name])
            batch[f"{name}.mask"] = masks(of_name[rows])
        given = {name: batch[name] for name in used}
        outputs.append(model.run([about["target"]], given)[0])
    return labeled(frame, np.concatenate(outputs), about)


def softmax(x: Array) -> Array:
    """Over the classes."""
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def labeled(frame: pd.DataFrame, logits: Array, about: About) -> pd.DataFrame:
    """Raw and calibrated probabilities, and the run's decision."""
    names = about["classes"]
    finite = np.asarray(np.isfinite(logits).all(axis=1))
    safe = np.where(finite[:, None], logits, 0).astype(np.float64)
    p = softmax(safe)
    columns = {f"prob_{name}": p[:, i] for i, name in enumerate(names)}
    if about["temperature"] is not None:
        log_p = np.log(np.maximum(p, np.finfo(np.float64).tiny))
        scaled_p = softmax(log_p / about["temperature"])
        for i, name in enumerate(names):
            columns[f"calibrated_{name}"] = scaled_p[:, i]
    chosen = p.argmax(axis=1)
    if about["threshold"] is not None and len(names) == 2:
        chosen = (p[:, 1] >= about["threshold"]).astype(np.int64)
    ids: list[Any] = [str(row) for row in frame.index]
    if about["id_column"] in frame.columns:
        given = cells.texts(frame, about["id_column"])
        ids = [row if cell is None else cell for row, cell in zip(ids, given)]
    out = pd.DataFrame({about["id_name"]: ids}, index=frame.index)
    for name, values in columns.items():
        out[name] = np.where(finite, values, np.nan)
    out["label"] = [names[i] if f else None for i, f in zip(chosen, finite)]
    return out


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="one case per row")
    parser.add_argument("--root", type=Path, default=Path(), help="of images")
    parser.add_argument("--out", type=Path, required=True, help="a CSV file")
    parser.add_argument(
        "--missing-images", choices=("error", "absent"), default="error"
    )
    given = parser.parse_args()
    try:
        if given.out.exists():
            raise FileExistsError(f"{given.out} exists already: see --out")
        if not (place := given.out.parent).is_dir():
            raise FileNotFoundError(f"no folder {place}: see --out")
        frame = table_file.read_table(given.table)
        missing = given.missing_images
        result = predict(frame, given.root, missing_images=missing)
        text = spreadsheet.to_csv(result)
        given.out.write_text(text, encoding="utf-8", newline="")
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return int(result["label"].isna().any())


if __name__ == "__main__":
    sys.exit(main())
