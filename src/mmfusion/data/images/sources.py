"""Finding, checking and reading the image files of a table; errors name row and file."""

import string
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from mmfusion.data.images.bag_cells import BagFiles, may_be_bag
from mmfusion.data.images.bag_rows import BagRows
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.images.dicom_images import DicomSource
from mmfusion.data.images.listing import Listing
from mmfusion.data.images.photographs import ImageSource
from mmfusion.data.images.rows import DecodedRows, Rows, torch_dtype
from mmfusion.data.images.source import Source, find_bag, n_bytes
from mmfusion.data.images.stack import StackSource
from mmfusion.data.images.threads import in_threads
from mmfusion.data.images.volumes import VolumeSource
from mmfusion.data.schema.cells import require_columns, texts
from mmfusion.option_checks import checked
from mmfusion.packed import entries, unpack

IN_MEMORY = 4 * 2**30
"""Most bytes of a table's images that are kept in memory without a cache; more are decoded batch by batch."""

_LONGEST_NAME = 200

Missing = Literal["error", "absent"]
Progress = Callable[[int, int], None]


_KINDS: tuple[type[ImageSource | VolumeSource | StackSource | DicomSource], ...] = (
    ImageSource,
    VolumeSource,
    StackSource,
    DicomSource,
)


def source_from_dict(packed: Mapping[str, Any]) -> Source:
    """The inverse of a source's ``to_dict``; without a kind, as in older runs, an :class:`ImageSource`.

    Raises:
        ValueError: If the kind is unknown or an entry is invalid; names the key.
    """
    values = dict(entries(packed, "source"))
    kind = values.pop("kind", ImageSource.kind)
    source = {source.kind: source for source in _KINDS}.get(kind) if isinstance(kind, str) else None
    if source is None:
        known = ", ".join(source.kind for source in _KINDS)
        raise ValueError(f"unknown kind of images {kind!r}; known are: {known}")
    if source is StackSource:
        return StackSource.from_dict(values)
    return unpack(source, values, "source")


class ImageFiles(NamedTuple):
    """The image files of a table.

    Attributes:
        paths: By modality, the files of each row: none if it does not exist, several where a case may have several.
        absent: One line per file that does not exist: row, column, name.
        excess: One line per case with more images than its source allows.
    """

    paths: dict[str, list[tuple[Path, ...]]]
    absent: list[str]
    excess: list[str]

    def each(self, name: str) -> list[tuple[int, Path]]:
        """All files of a modality, each with the position of its row."""
        return [(row, path) for row, paths in enumerate(self.paths[name]) for path in paths]


def find_images(sources: Mapping[str, Source], frame: pd.DataFrame, root: Path | str | None) -> ImageFiles:
    """Find all image files of a table, without opening them.

    Args:
        sources: Where each modality's images are.
        frame: One row per case.
        root: The folder that the names are relative to; None: the working folder.

    Raises:
        ValueError: If a column is not in the table, or a pattern is invalid.
        FileNotFoundError: If the root does not exist.
    """
    require_columns(frame, list(dict.fromkeys(c for source in sources.values() for c in named_columns(source.column))))
    folder = Path() if root is None else Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"the image folder {folder} does not exist, or is not a folder")
    files, listing = ImageFiles({}, [], []), Listing()
    for name, source in sources.items():
        files.paths[name] = []
        for row, text in zip(frame.index, _names(frame, source.column)):
            where = f"row {row}, column {source.column!r}"
            found = BagFiles((), ()) if text is None else find_bag(source, folder, text, listing)
            files.paths[name].append(found.paths)
            lacking = ["an empty cell"] if text is None else [_cut(f"{n}{source.suffix}") for n in found.lacking]
            whole = " (read as one name)" if text is not None and source.bag == 1 and may_be_bag(text) else ""
            files.absent.extend(f"{where}: {what}{whole}" for what in lacking)
            if len(found.paths) > source.bag:
                files.excess.append(
                    f"{where}: {_cut(str(text))} are {len(found.paths)} images, at most {source.bag} are read per "
                    "case: name fewer, or train with a larger max_images"
                )
    return files


@checked
def check_images(
    sources: Mapping[str, Source],
    frame: pd.DataFrame,
    root: Path | str | None,
    *,
    missing: Missing = "error",
    decode: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Check the image files of a table.

    Args:
        sources: Where each modality's images are.
        frame: One row per case.
        root: The folder that the names are relative to; None: the working folder.
        missing: Whether a missing file or an empty cell is a fault ("error") or not ("absent").
        decode: Decode every file; else only its header is read, which misses damage in the pixels.
        progress: Called with the number of files checked so far and of all files, in the calling thread.

    Returns:
        One line per fault: the row, the file, what is wrong. Empty without faults.

    Raises:
        ValueError: If ``missing`` is unknown, or a column is not in the table.
        FileNotFoundError: If the root is not there.
    """
    if not sources:
        return []
    files = find_images(sources, frame, root)
    tasks = _tasks({name: _slots(source, files.paths[name]) for name, source in sources.items()})

    def look(task: _Task) -> str | None:
        source = sources[task.name]
        try:
            if decode:
                source.decode(task.path)
            else:
                source.probe(task.path)
        except (OSError, ValueError) as error:
            return _fault(frame, sources[task.name], task, error)
        return None

    faults = [*files.excess, *(absent_faults(files) if missing == "error" else [])]
    for done, fault in enumerate(in_threads(look, tasks), start=1):
        if fault is not None:
            faults.append(fault)
        if progress is not None:
            progress(done, len(tasks))
    return faults


def absent_faults(files: ImageFiles) -> list[str]:
    """One line per empty cell and per file that does not exist, or pattern that matches none."""
    return [line if line.endswith("an empty cell") else f"{line} does not exist" for line in files.absent]


@checked
def load_images(
    sources: Mapping[str, Source],
    frame: pd.DataFrame,
    root: Path | str | None,
    *,
    missing: Missing = "error",
    cache: ImageCache | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Tensor | Rows | BagRows], dict[str, Tensor]]:
    """Read all images of a table, decoding each once.

    With a cache they are mapped from its files. Without one, or if it is full, they are in memory if all of them
    together take at most :data:`IN_MEMORY`; else they are decoded batch by batch.

    Args:
        sources: Where each modality's images are.
        frame: One row per case.
        root: The folder that the names are relative to; None: the working folder.
        missing: Whether a missing file or an empty cell is an error ("error") or means that the case lacks the image
            ("absent").
        cache: Keeps decoded images on disk.
        progress: Called with the number of images read so far and of all images, in the calling thread.

    Returns:
        By modality, the pixels ``(n, channels, *spatial)``, uint8 for photographs, float16 for volumes (zeros where
        absent), or a :class:`~mmfusion.data.images.bag_rows.BagRows` where a case may have several; and ``(n,)`` bool,
        True where an image is present.

    Raises:
        ValueError: If ``missing`` is unknown, a column is not in the table, a case has too many images, or images
            cannot be decoded.
        FileNotFoundError: If the root, or with ``missing="error"`` an image, does not exist; lists the first ten
            images by row and file, and their number.
    """
    if not sources:
        return {}, {}
    files = find_images(sources, frame, root)
    if files.absent and missing == "error":
        folder = Path() if root is None else Path(root)
        searched = sorted({str(folder / sub) for source in sources.values() for sub in source.folders})
        raise FileNotFoundError(
            f"{len(files.absent)} image(s) of the table are not in {', '.join(searched)}: {_first(files.absent)}. Add "
            "the files, or read such cases without the image (missing_images='absent', if the dataset has the option)"
        )
    if files.excess:
        raise ValueError(f"{len(files.excess)} case(s) have too many images: {_first(files.excess)}")
    present = {name: torch.tensor([bool(paths) for paths in files.paths[name]], dtype=torch.bool) for name in sources}
    # One entry per image; of a modality with one image per case, None for a case that lacks it.
    slots = {name: _slots(source, files.paths[name]) for name, source in sources.items()}
    images: dict[str, Tensor | Rows] = {}
    tasks = _tasks(slots)
    done, faults = 0, []

    def advance(n: int) -> None:
        nonlocal done
        done += n
        if progress is not None and n:
            progress(done, len(tasks))

    if cache is not None:
        for name, source in sources.items():
            before = done
            rows, damaged = cache.rows(source, [slot.path for slot in slots[name]], root, advance=advance)
            faults += [
                file_fault(frame.index[slot.row], source.column, slot.path, error)
                for i, error in damaged.items()
                if (slot := slots[name][i]).path
            ]
            if rows is None:
                done = before
            else:
                images[name] = rows
    uncached = {name: source for name, source in sources.items() if name not in images}
    size = sum(len(slots[name]) * n_bytes(source) for name, source in uncached.items())
    if size > IN_MEMORY:
        warnings.warn(
            f"the images of {len(frame)} cases need {size / 1e9:.1f} GB, more than is kept in memory: they are decoded "
            "again for each batch; a cache with enough space avoids that",
            stacklevel=2,
        )
        images |= {name: DecodedRows(source, [slot.path for slot in slots[name]]) for name, source in uncached.items()}
        uncached = {}
    pixels = {
        name: torch.zeros((len(slots[name]), *s.spec.shape), dtype=torch_dtype(s.dtype)) for name, s in uncached.items()
    }
    arrays = {name: tensor.numpy() for name, tensor in pixels.items()}

    def decode(task: _Task) -> str | None:
        try:
            arrays[task.name][task.place] = sources[task.name].decode(task.path)
        except (OSError, ValueError) as error:
            return _fault(frame, sources[task.name], task, error)
        return None

    for fault in in_threads(decode, [task for task in tasks if task.name in uncached]):
        if fault is not None:
            faults.append(fault)
        advance(1)
    if faults:
        raise ValueError(
            f"{len(faults)} image file(s) cannot be decoded, truncated or damaged: {_first(faults)}. Restore "
            "them, or leave their cells empty (missing_images='absent', if the dataset has the option)"
        )
    stored = {name: pixels[name] if name in pixels else images[name] for name in sources}
    bags = {
        name: BagRows(stored[name], [len(paths) for paths in files.paths[name]])
        for name, source in sources.items()
        if source.bag > 1
    }
    return {**stored, **bags}, present


def no_images(source: Source, n: int) -> Tensor | BagRows:
    """The images of n cases that all lack them; they take no memory."""
    nothing = torch.zeros((), dtype=torch_dtype(source.dtype))
    if source.bag > 1:
        return BagRows(nothing.expand(0, *source.spec.shape), [0] * n)
    return nothing.expand(n, *source.spec.shape)


def _cut(name: str) -> str:
    """A name for a message: a cell may hold anything, a whole report too."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}... ({len(name)} characters)"


class _Slot(NamedTuple):
    """An image in a storage: the position of its row, and its file; None for a row that lacks it."""

    row: int
    path: Path | None


class _Task(NamedTuple):
    """One file of a table: its modality, the positions of its row and in the storage, its path."""

    name: str
    row: int
    place: int
    path: Path


def _slots(source: Source, paths: list[tuple[Path, ...]]) -> list[_Slot]:
    if source.bag > 1:
        return [_Slot(row, path) for row, of_row in enumerate(paths) for path in of_row]
    return [_Slot(row, of_row[0] if of_row else None) for row, of_row in enumerate(paths)]


def _tasks(slots: Mapping[str, list[_Slot]]) -> list[_Task]:
    return [
        _Task(name, slot.row, place, slot.path)
        for name, of_name in slots.items()
        for place, slot in enumerate(of_name)
        if slot.path is not None
    ]


def _fault(frame: pd.DataFrame, source: Source, task: _Task, error: Exception | str) -> str:
    return file_fault(frame.index[task.row], source.column, task.path, error)


def file_fault(row: object, column: str, path: Path | None, error: Exception | str) -> str:
    """What is wrong with a file, with its row and column."""
    return f"row {row}, column {column!r}: {path} ({error})"


def named_columns(column: str) -> list[str]:
    """The columns of a source's file names: one, or those of a pattern."""
    return [field for _, field in pieces(column) if field is not None]


def pieces(column: str) -> list[tuple[str, str | None]]:
    """Pairs of a text and the column after it."""
    if "{" not in column:
        return [("", column)]
    try:
        parsed = list(string.Formatter().parse(column))
    except ValueError as error:
        raise ValueError(f"{column!r} is not a pattern of columns, as in '{{fold}}/{{patient}}': {error}") from error
    for _, field, form, conversion in parsed:
        if field == "" or form or conversion:
            raise ValueError(
                f"a pattern expects names of columns in braces, as in '{{fold}}/{{patient}}', got {column!r}"
            )
    return [(text, field) for text, field, _, _ in parsed]


def _names(frame: pd.DataFrame, column: str) -> list[str | None]:
    """Each row's file name; None if one of its cells is empty."""
    around = pieces(column)
    cells = {name: texts(frame, name) for name in named_columns(column)}

    def name(i: int) -> str | None:
        parts = [(text, "" if field is None else cells[field][i]) for text, field in around]
        return None if any(cell is None for _, cell in parts) else "".join(f"{text}{cell}" for text, cell in parts)

    return [name(i) for i in range(len(frame))]


def _first(faults: Iterable[str], n: int = 10) -> str:
    listed = list(faults)
    return "; ".join(listed[:n]) + (f"; and {len(listed) - n} more" if len(listed) > n else "")
