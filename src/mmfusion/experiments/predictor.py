"""Predictions of a trained run for new cases, from its folder alone."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from torch import nn

from mmfusion.data.cases import Cases
from mmfusion.data.frame import FrameDataset
from mmfusion.data.reader import CaseReader
from mmfusion.data.schema.cells import require_columns
from mmfusion.data.schema.ranges import find_outside, outside_columns
from mmfusion.data.schema.table_file import read_table
from mmfusion.experiments import case_file, folder, locked, predictions, trust
from mmfusion.experiments.assembly import build_model
from mmfusion.experiments.devices import pick_device
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predicted_table import Outputs, tabulate
from mmfusion.experiments.settings import Settings
from mmfusion.metrics.conformal import COVERAGE
from mmfusion.models import pretrained
from mmfusion.models.selective import modalities_of
from mmfusion.spec import DataSpec
from mmfusion.tokens import Table
from mmfusion.training import checkpoints, inference, memory
from mmfusion.training.arithmetic import arithmetic
from mmfusion.training.checkpoints import load_weights


class Predictor:
    """Probabilities for new cases. Made by :func:`load`.

    Args:
        model: With its trained weights.
        reader: Prepares new cases as the training cases were.
        device: Where to compute.
        batch_size: Cases at a time.
        locked: Threshold and temperature of the run; None: a label is the likeliest class, and nothing is calibrated.
    """

    def __init__(
        self,
        model: nn.Module,
        reader: CaseReader,
        *,
        device: torch.device,
        batch_size: int = 64,
        locked: Locked | None = None,
    ) -> None:
        self.model = model.to(device).eval()
        self.reader = reader
        self.spec: DataSpec = reader.spec
        self.batch_size = batch_size
        self.locked = locked
        self.device = device
        self.target, self.kind = predictions.only_classes(self.spec)
        self.seen = modalities_of(model, self.spec)

    def predict(
        self,
        frame: pd.DataFrame,
        image_root: str | Path | None = None,
        missing_images: Literal["error", "absent"] = "error",
        *,
        coverage: float = COVERAGE,
        say: Callable[[str], None] | None = None,
    ) -> pd.DataFrame:
        """Predict every row, in float32 whatever the precision of the training.

        Args:
            frame: One case per row, with the columns that the run was trained on. Not needed are the label's, those of
                modalities that the model does not look at, and those of :meth:`absent`.
            image_root: The folder that the image names are relative to; None: the working folder.
            missing_images: What a missing image file or image column means: an error, or that the case lacks the
                image.
            coverage: Of conformal sets, if the run has calibration cases (``train.calibration``).
            say: Receives a sentence for each column with cells that count as missing though they are not empty, or
                that are bounds such as ``<0.5``; for each with numbers far outside the training range; one if rows
                have no label; and one if the run has no threshold or temperature. None: each is a warning.

        Returns:
            With the frame's index: the case's name under its own column's name, the group's column where there is
            one, ``prob_<class>``, ``calibrated_<class>``, ``label``, ``missing`` and ``outside``; and of a run with
            calibration cases ``set``, the classes of the conformal set, and ``abstain``, whether these are not one.

            ``prob_<class>`` is the model's output as it is, ``calibrated_<class>`` that at the run's temperature;
            without a temperature there are no such columns. ``label`` is the run's decision: of two classes the second
            one where its ``prob_<class>`` is at least the run's threshold, of more the likeliest. ``missing`` has the
            columns and images that the case lacked, separated by commas; a category that no training case had counts as
            missing. Of a modality that all cases lack it has the name. What the model does not look at is neither read
            nor missing. ``outside`` has the columns whose number is far outside the training range, see
            :attr:`NumericalColumn.limits <mmfusion.data.schema.columns.NumericalColumn.limits>`. A row for which the
            model's output is not finite has neither probabilities nor a label: they are missing. A column of the case
            or the group that is called like one of the result's is called ``id`` or ``group``.

        Raises:
            ValueError: If a column is missing, or a cell is not what its column holds; if nothing is left to predict
                from, or the model cannot do without a modality that is absent.
            FileNotFoundError: If an image file does not exist and ``missing_images`` is ``"error"``.
        """
        outputs = self.outputs(self.read(frame, image_root, missing_images), frame, missing_images)
        warn = say or (lambda text: warnings.warn(text, stacklevel=3))
        return tabulate(outputs, frame, self.reader, self.kind, self.locked, warn, coverage)

    def read(
        self,
        frame: pd.DataFrame,
        image_root: str | Path | None = None,
        missing_images: Literal["error", "absent"] = "error",
    ) -> FrameDataset:
        """The cases of a table, without labels; arguments and errors as of :meth:`predict`."""
        root = None if image_root is None else Path(image_root)
        unread = self.unread(frame, missing_images)
        return self.reader.read(frame, root, with_targets=False, missing_images=missing_images, without=unread)

    def outputs(
        self, dataset: FrameDataset, frame: pd.DataFrame, missing_images: Literal["error", "absent"] = "error"
    ) -> Outputs:
        """The model's output for cases from :meth:`read`, of the same rows."""
        missing: list[tuple[str, ...]] = []
        batches = inference.in_order(dataset, self.batch_size, workers=0, device=self.device)
        try:
            smaller = f"a smaller batch_size of the predictor (it is {self.batch_size})"
            with memory.guard("predicting", self.device, smaller), arithmetic(self.device):
                p = inference.predict(self.model, self._noting(batches, missing), self.target, self.device)
        except ValueError as error:
            absent = self.absent(frame, missing_images)
            if not absent or isinstance(error, memory.OutOfMemory):
                raise
            columns = [column for name in absent for column in self.reader.columns_of(name)]
            raise ValueError(
                f"the table has none of the columns {columns}, and the model needs {list(absent)}: {error}"
            ) from error
        schema = None if self.reader.table_name in self.unread(frame, missing_images) else self.reader.schema
        outside = find_outside(schema, frame)
        remarks = (*(schema.cell_remarks(frame) if schema is not None else ()), *outside)
        return Outputs(
            tuple(dataset.ids),
            p,
            tuple(missing),
            tuple(outside_columns(outside, len(frame))),
            tuple(map(str, remarks)),
        )

    def unread(self, frame: pd.DataFrame, missing_images: Literal["error", "absent"] = "error") -> tuple[str, ...]:
        """Modalities that are not read: those of :meth:`absent`, and those that the model does not look at."""
        absent = self.absent(frame, missing_images)
        return tuple(name for name in self.spec.names if name in absent or name not in self.seen)

    def absent(self, frame: pd.DataFrame, missing_images: Literal["error", "absent"] = "error") -> tuple[str, ...]:
        """Modalities that the model uses and all cases lack, since the table has none of their columns.

        Args:
            frame: The table.
            missing_images: As in :meth:`predict`: with ``"error"`` an image's column must exist.

        Raises:
            ValueError: If nothing is left; names the columns.
        """
        columns = {name: self.reader.columns_of(name) for name in self.seen}
        lacking = [name for name, wanted in columns.items() if wanted and not set(wanted) & set(frame.columns)]
        if len(lacking) == len(columns):
            require_columns(frame, [column for wanted in columns.values() for column in wanted])
        images = self.spec.images
        strict = [name for name in lacking if name in images and missing_images == "error"]
        if strict:
            image_columns = [column for name in strict for column in columns[name]]
            raise ValueError(
                f"the table has no column {', '.join(map(repr, image_columns))} with the files of {', '.join(strict)}; "
                f"its columns are: {', '.join(map(str, frame.columns))}. To predict without the image, use "
                "missing_images='absent'"
            )
        return tuple(lacking)

    def _noting(self, batches: Iterable[Cases], missing: list[tuple[str, ...]]) -> Iterator[Cases]:
        """The batches, and for each case what it lacks."""
        for cases in batches:
            for row in range(len(cases.position)):
                lacks: list[str] = []
                for name in self.seen:
                    value = cases.inputs[name]
                    if not bool(cases.present[name][row]):
                        lacks.append(name)
                    elif isinstance(value, Table):
                        flags = torch.cat([value.numerical[row].isnan(), value.categorical[row] < 0]).tolist()
                        lacks += [column for column, flag in zip(self.spec[name].names, flags) if flag]
                missing.append(tuple(lacks))
            yield cases


def load(
    run_folder: str | Path,
    device: str = "auto",
    *,
    plugins: Sequence[str | Path] | None = None,
    module: nn.Module | None = None,
) -> Predictor:
    """A predictor from a run; nothing else is needed, neither the dataset nor pretrained weights.

    A run of a plug-in's parts needs the plug-in, too. The folder only names it: it is run if ``plugins`` names it, or
    if you have allowed that very file before, see :mod:`mmfusion.experiments.trust`.

    Args:
        run_folder: With ``settings.json``, ``case.json`` and ``best.safetensors``, and ``locked.json`` if the run is
            finished; or a file of weights next to the others.
        device: ``auto``, ``cpu`` or ``cuda``.
        plugins: The plug-ins to run in place of those that the folder names; empty: none.
        module: For a run of a module of one's own: one like it, which is copied.

    Raises:
        FileNotFoundError: If the folder does not hold a run, a plug-in is not there, or the run has no chosen weights
            yet; names the file.
        mmfusion.registry.PluginError: If the folder names a plug-in that was not allowed, or one fails.
        ValueError: If a newer version of the package wrote it, or the weights are of another model.
    """
    path = Path(run_folder)
    place, weights = folder.home(path), path if path.is_file() else path / checkpoints.BEST
    if not weights.is_file() and (place / pretrained.WEIGHTS).is_file():
        weights = place / pretrained.WEIGHTS  # exported for a hub
    if path.is_file() and not all((place / name).is_file() for name in (folder.SETTINGS, folder.CASE)):
        raise ValueError(
            f"{path} holds weights alone, which do not say how cases are read: give the run's folder, or put "
            f"{folder.SETTINGS} and {folder.CASE} next to it"
        )
    settings = folder.read_settings(place)
    _import(settings, plugins, place)
    spec, reader = case_file.read(folder.read_case(place), place / folder.CASE)
    if not weights.is_file():
        raise FileNotFoundError(f"{place} has no trained weights yet: {weights.name} is missing")
    model = build_model(settings, spec, weights=False, module=module)
    load_weights(model, checkpoints.load(weights)[0], weights)
    chosen, n_classes = locked.read(place), predictions.only_classes(spec)[1].n
    if chosen.scores and len(chosen.scores) != n_classes:
        raise ValueError(f"{place / folder.LOCKED} has scores of {len(chosen.scores)} classes, the run has {n_classes}")
    batch_size = settings.train.eval_batch_size
    return Predictor(model, reader, device=pick_device(device), batch_size=batch_size, locked=chosen)


def cases_of(table: pd.DataFrame | str | Path, image_root: str | Path | None) -> tuple[pd.DataFrame, Path | None]:
    """The rows of new cases, and the folder of their images: if None is given, that of the file, or None for a frame.

    Raises:
        ValueError: If it is neither a frame nor a file's name, or the file is no table.
        FileNotFoundError: If the table does not exist.
    """
    root = None if image_root is None else Path(image_root)
    if isinstance(table, pd.DataFrame):
        return table, root
    if not isinstance(table, str | Path):
        raise ValueError(f"table expects a frame or the name of a file, got {type(table).__name__}")
    # As text: the reader knows each column's type.
    return read_table(table), Path(table).parent if root is None else root


def _import(settings: Settings, plugins: Sequence[str | Path] | None, place: Path) -> None:
    """The plug-ins that the caller names; else those of the run, as far as the user has allowed them."""
    if plugins is None:
        trust.run_named(settings.run.plugins, place)
    else:
        trust.run_given(plugins)
