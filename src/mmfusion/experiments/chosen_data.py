"""The data of a run, as a user names them: a table, or a registered dataset, with options."""

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from mmfusion import registry
from mmfusion.data.bundle import DataBundle
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.datasets.planned import PlannedDataset
from mmfusion.data.whole_files import replace_file
from mmfusion.experiments import console, file_digests, recipes
from mmfusion.experiments.argument_names import named
from mmfusion.experiments.assembly import build_dataset
from mmfusion.experiments.builder_options import typed_options
from mmfusion.experiments.settings import RunSettings, Settings, merge
from mmfusion.option_checks import check_names
from mmfusion.training.reporter import Reporter
from mmfusion.utils.cache_folders import cache_folder, make_private, private_folder

TABLE = "table"
"""Registered name of the dataset of a table of one's own."""


@dataclass(frozen=True)
class Data:
    """Data to train on. Made by :func:`read_table` and :func:`load_dataset`; no image is decoded before it is needed.

    Attributes:
        name: Registered name of the dataset.
        root: Folder of the dataset, or of the images that a table names.
        options: Of the dataset, where they are not those of its recipe.
        plan: Table, columns and split; None for a dataset that reads no files.
    """

    EXPECTED: ClassVar[str] = "what mmfusion.read_table or mmfusion.load_dataset returns"
    """It in words, for the message of a wrong argument."""

    name: str
    root: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    plan: Plan | None = field(default=None, repr=False, compare=False)

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings of a run on them, ``{section: {key: value}}``."""
        return {"run": {} if self.root is None else {"root": self.root}, "data": dict(self.options)}

    def load(self, *, verbose: bool | Reporter = True) -> DataBundle:
        """Training, validation and test set, with their images.

        Args:
            verbose: True to show the progress, False for silence, or a reporter.

        Raises:
            ValueError: If images cannot be decoded; names them.
            FileNotFoundError: If images are missing; names them.
        """
        run = RunSettings(model="none", dataset=self.name, root=self.root)
        return build_dataset(Settings(run, data=with_recipe(self.name, self.options)), console.reporter_of(verbose))

    def __str__(self) -> str:
        """Sets, classes and columns, in lines."""
        if self.plan is None:
            return f"{self.name}: made when it is loaded"
        about = self.plan.about if self.name == TABLE else "\n".join([*_counts(self.plan), self.plan.about])
        return "\n".join([about.rstrip("\n"), *self.plan.notes])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


@named
def read_table(
    table: str | Path | pd.DataFrame,
    *,
    target: str,
    images: Sequence[str] | str = (),
    group: str | None = None,
    root: str | Path | None = None,
    id: str | None = None,
    test: str | None = None,
    size: int | Sequence[int] | None = None,
    verbose: bool | Reporter = True,
    **options: Any,
) -> Data:
    """A table of one's own, one row per case: its columns are inferred, its files found, and its cases split.

    Args:
        table: A file, or a frame. What a run reads is a file: a frame is written to the user's cache, without its
            index.
        target: The column of the class.
        images: Columns with names of image files, one modality each.
        group: The column of the patient or lesion: a group is never in two sets.
        root: The folder that the image names are relative to; None: that of the file, or the working folder.
        id: The column with each case's name; None: the number of its row.
        test: The column that marks the test set; None: a random split.
        size: Pixels along each side; or height and width; or these and slices. None: that of the recipe.
        verbose: Whether what was inferred is shown: True, False, or a reporter.
        options: Others of :class:`~mmfusion.data.TableDataset`.

    Returns:
        For :func:`~mmfusion.fit` and :func:`~mmfusion.compare`.

    Raises:
        mmfusion.data.datasets.faults.DatasetError: A ValueError, if the table, its labels, columns, cells or split are
            invalid; lists all faults.
        ValueError: If an option is unknown or invalid.
        FileNotFoundError: If a file does not exist.
    """
    if isinstance(table, pd.DataFrame):
        root = Path() if root is None else root
        table = written(table)
    if not isinstance(images, str) and images:
        options["images"] = list(images)
    elif images:
        options["images"] = [images]
    if size is not None:
        options["size"] = size if isinstance(size, int) else list(size)
    chosen = {"label": target, "group": group, "id": id, "test": test}
    options |= {key: value for key, value in chosen.items() if value is not None}
    return load_dataset(TABLE, root, verbose=verbose, table=str(table), **options)


@named
def load_dataset(name: str, root: str | Path | None = None, *, verbose: bool | Reporter = True, **options: Any) -> Data:
    """A registered dataset, checked as far as that goes without decoding images.

    Args:
        name: Registered name; :func:`~mmfusion.list_datasets` has them all.
        root: Its folder; None for one that is generated.
        verbose: Whether what was found is shown: True, False, or a reporter.
        options: Of the dataset; others are those of its recipe.

    Returns:
        For :func:`~mmfusion.fit` and :func:`~mmfusion.compare`.

    Raises:
        ValueError: If the name or an option is unknown or invalid, or files are faulty; lists all faults.
        FileNotFoundError: If a file does not exist.
    """
    reporter = console.reporter_of(verbose)
    builder, name = registry.datasets.get(name), registry.datasets.canonical(name)
    # A run may be resumed from another working folder.
    folder = None if root is None else os.path.abspath(root)
    for key in (*file_digests.FILES, *file_digests.WRITTEN):
        if isinstance(options.get(key), str | os.PathLike):
            options[key] = os.path.abspath(options[key])
    check_names(f"dataset {name!r}", builder, options)
    data = Data(name, folder, typed_options("data", builder, options), _planned(name, builder, folder, options))
    if data.plan is not None:
        reporter.say(str(data))
    # The file is written: a run need not write it again.
    return Data(
        name, folder, {key: value for key, value in data.options.items() if key not in file_digests.WRITTEN}, data.plan
    )


def data_of(data: Data | str) -> Data:
    """What a user names as data: itself, or a generated dataset by its name.

    Raises:
        ValueError: If it is something else, such as a frame.
    """
    if isinstance(data, Data):
        return data
    if not isinstance(data, str):
        raise ValueError(f"data expects {Data.EXPECTED}, or the name of a generated dataset, got {type(data).__name__}")
    return load_dataset(data, verbose=False)


def _planned(name: str, builder: Any, root: str | None, options: Mapping[str, Any]) -> Plan | None:
    if not isinstance(builder, PlannedDataset):
        return None
    of_root = {"root": Path(root)} if root is not None else {}
    return builder.plan(**of_root, **with_recipe(name, options))


def with_recipe(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a dataset over those of its recipe."""
    return merge(recipes.load(name, "")["data"], options)


def _counts(plan: Plan) -> list[str]:
    return [
        f"{name:<10}  {sum(counts.values())} cases: " + ", ".join(f"{label} {n}" for label, n in counts.items())
        for by_set in plan.counts().values()
        for name, counts in by_set.items()
    ]


def written(frame: pd.DataFrame) -> Path:
    """The frame as a file in the user's cache, named by its content."""
    content = frame.to_csv(index=False, lineterminator="\n").encode()
    path = cache_folder("tables") / f"{file_digests.digest(content)[:16]}.csv"
    if not path.is_file():
        private_folder(path.parent)
        replace_file(path, content)
        make_private(path)
    return path
