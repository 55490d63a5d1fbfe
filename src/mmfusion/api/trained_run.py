"""A trained run, as a user has it: results, predictions, embeddings."""

import base64
import functools
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, overload

import pandas as pd
from torch import nn

from mmfusion.api.explaining import Explaining
from mmfusion.api.predicting import Missing, RunEnsemble
from mmfusion.data.reader import CaseReader
from mmfusion.experiments import case_embeddings, folder, predictor, run_report, sharing
from mmfusion.experiments.argument_names import named
from mmfusion.experiments.exporting import writing
from mmfusion.experiments.exporting.writing import Format
from mmfusion.experiments.modality_gap import gap
from mmfusion.experiments.modality_gap.gap import ModalityGap
from mmfusion.experiments.modality_gap.projections import Neighbors
from mmfusion.experiments.predictor import Predictor, cases_of
from mmfusion.experiments.settings import Settings
from mmfusion.models import Blueprint, FusionModel
from mmfusion.option_checks import checked
from mmfusion.options import Range, Seed
from mmfusion.spec import DataSpec
from mmfusion.training.result_files import read_json


class Run(Explaining):
    """A run's folder, read as far as it is needed. Made by :func:`~mmfusion.fit` and :func:`load`.

    Args:
        place: The folder, or a file of weights next to its settings.
        device: ``auto``, ``cpu`` or ``cuda``.
        plugins: As for :func:`load`.
        model: As for :func:`load`.

    Attributes:
        folder: Where it is.
    """

    def __init__(
        self,
        place: str | Path,
        device: str = "auto",
        *,
        plugins: Sequence[str | Path] | None = None,
        model: nn.Module | None = None,
    ) -> None:
        place = Path(place)
        self.folder = folder.home(place)
        super().__init__((place,), device, plugins)
        self._module = model
        self._load: Callable[[], Predictor] = functools.partial(
            predictor.load, place, device, plugins=plugins, module=model
        )

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Model and reader, with the chosen weights."""
        return self._load()

    @property
    def _predictor(self) -> Predictor:  # a module of one's own, too
        return self.predictor

    @property
    def model(self) -> nn.Module:
        """The trained model, in evaluation mode."""
        return self.predictor.model

    @property
    def reader(self) -> CaseReader:
        """It prepares new cases as the training cases were."""
        return self.predictor.reader

    @property
    def spec(self) -> DataSpec:
        """What the data are."""
        return self.predictor.spec

    @property
    def blueprint(self) -> Blueprint | None:
        """What the model was assembled from; None for a model of other code."""
        return self.model.blueprint if isinstance(self.model, FusionModel) else None

    @functools.cached_property
    def settings(self) -> Settings:
        """All settings."""
        return folder.read_settings(self.folder)

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``: ``run.metrics["test"]["auc"]["value"]``, with ``low`` and ``high``.

        Raises:
            FileNotFoundError: If the run is not finished, or its results were not shared.
        """
        content: dict[str, Any] = self._result(folder.METRICS)
        return content

    @functools.cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch: learning rate, loss terms and validation metrics.

        Raises:
            FileNotFoundError: As :attr:`metrics`.
        """
        return pd.json_normalize(self._result(folder.HISTORY), sep=".").set_index("epoch")

    @functools.cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per case of the validation and the test set.

        Raises:
            FileNotFoundError: As :attr:`metrics`.
        """
        path = self.folder / folder.PREDICTIONS
        if not path.is_file():
            raise self._absent(folder.PREDICTIONS)
        return pd.read_csv(path, dtype={"id": str, "group": str, "label": str}, keep_default_na=False)

    @named
    @checked
    def embed(
        self,
        table: pd.DataFrame | str | Path,
        image_root: str | Path | None = None,
        missing_images: Missing = "error",
    ) -> pd.DataFrame:
        """The embedding of each modality, which the model fuses, for new cases.

        Args:
            table: As for :meth:`predict`.
            image_root: As for :meth:`predict`.
            missing_images: As for :meth:`predict`.

        Returns:
            With the frame's index and columns ``(modality, number)``, so that ``run.embed(table)["photo"]`` is ``(n,
            d)``; NaN where a case lacks the modality.

        Raises:
            ValueError: As :meth:`predict`, or if the model has no embeddings.
            FileNotFoundError: As :meth:`predict`.
        """
        frame, root = cases_of(table, image_root)
        return case_embeddings.embed(self.predictor, frame, root, missing_images)

    @named
    @checked
    def modality_gap(
        self,
        table: pd.DataFrame | str | Path | None = None,
        image_root: str | Path | None = None,
        missing_images: Missing = "error",
        *,
        before: bool = True,
        neighbors: Neighbors = "auto",
        n_cases: Annotated[int, Range(2, 20_000)] = gap.N_CASES,
        n_resamples: Annotated[int, Range(0, 1_000_000)] = gap.N_RESAMPLES,
        seed: Seed = 0,
    ) -> ModalityGap:
        """Where the model puts the modalities of cases, before and after training: numbers, and pictures to look at.

        Args:
            table: As for :meth:`predict`; with the label's column classes are colored and compared. None: the run's own
                test set.
            image_root: As for :meth:`predict`. Without a table: where the run's dataset is now, if it was moved.
            missing_images: As for :meth:`predict`.
            before: Whether the weights that the training began with are compared: they are built again from the run's
                seed.
            neighbors: What is drawn next to PCA: ``"umap"`` (``pip install "mmfusion[umap]"``), ``"tsne"``, ``"none"``,
                or ``"auto"``, UMAP where it is installed, else t-SNE.
            n_cases: The most cases; of more this many are drawn at random.
            n_resamples: Resamples of the intervals; 0: there are none.
            seed: Of the drawing, the resamples, and of t-SNE and UMAP.

        Returns:
            ``numbers``, ``png``, ``html`` and ``write(out)``; in a notebook it shows itself.

        Raises:
            ValueError: As :meth:`predict`, if the model has no embeddings, the run's own cases or first weights cannot
                be had, or an option is out of range.
            FileNotFoundError: As :meth:`predict`.
            ImportError: If umap-learn is asked for and not installed.
        """
        return gap.modality_gap(
            self.predictor,
            self.folder,
            table,
            image_root,
            missing_images,
            before=before,
            neighbors=neighbors,
            n_cases=n_cases,
            n_resamples=n_resamples,
            seed=seed,
            module=self._module,
        )

    @named
    def share(self, out: str | Path) -> list[Path]:
        """Write a folder that predicts and holds as little else of the run as possible.

        Args:
            out: The new folder.

        Returns:
            The files.

        Raises:
            FileExistsError: If ``out`` exists and is not an empty folder.
        """
        return sharing.share(self.folder, out)

    @named
    def export(
        self, out: str | Path | None = None, *, format: Format = "onnx", license_of_data: str = ""
    ) -> list[Path]:
        """Write the model for use without mmfusion, or for a hub, with a model card.

        Args:
            out: The new folder; None: next to the run's, with ``-<format>`` appended to its name.
            format: ``"onnx"``: an ONNX file, its preprocessing, and a script that predicts without mmfusion and torch.
                ``"torch"``: a program of ``torch.export``. ``"hub"``: a folder for :func:`mmfusion.load` and
                :func:`mmfusion.from_pretrained`, in the layout of the Hugging Face hub.
            license_of_data: For the card; empty: what the run's notes say.

        Returns:
            The files.

        Raises:
            FileExistsError: If ``out`` exists and is not an empty folder.
            mmfusion.models.export.ExportError: If a part of the model or its preprocessing cannot be exported; says
                which and why.
        """
        if out is None:
            place = self.folder.resolve()
            out = place.with_name(f"{place.name}-{format}")
        return writing.export(self.predictor, self.folder, out, format=format, license_of_data=license_of_data)

    def __repr__(self) -> str:
        if not (self.folder / folder.METRICS).is_file():
            return f"Run({str(self.folder)!r})"
        part = "test" if "test" in self.metrics else "validation"
        auc = self.metrics[part]["auc"]
        value = "undefined" if auc["value"] is None else f"{auc['value']:.3f}"
        return f"Run({str(self.folder)!r}: {run_report.title(self.metrics)}, {part} AUC {value})"

    def _repr_html_(self) -> str:
        """The table of metrics, and the training curve."""
        if not (self.folder / folder.METRICS).is_file():
            return f"<code>{html.escape(repr(self))}</code>"
        parts = [f"<b>{html.escape(run_report.title(self.metrics))}</b>", run_report.frame(self.metrics).to_html()]
        curve = self.folder / folder.CURVE
        if curve.is_file():
            picture = base64.b64encode(curve.read_bytes()).decode()
            parts.append(f'<img alt="training curve" width="500" src="data:image/png;base64,{picture}">')
        return "\n".join([*parts, f"<p><code>{html.escape(str(self.folder))}</code></p>"])

    def _result(self, name: str) -> Any:
        if not (self.folder / name).is_file():
            raise self._absent(name)
        return read_json(self.folder / name)

    def _absent(self, name: str) -> FileNotFoundError:
        return FileNotFoundError(f"{self.folder} has no results: {name} is missing, as before a run's end")


@overload
def load(
    run_folder: str | Path,
    device: str = "auto",
    *,
    plugins: Sequence[str | Path] | None = None,
    model: nn.Module | None = None,
) -> Run: ...
@overload
def load(
    run_folder: list[Any] | tuple[Any, ...], device: str = "auto", *, plugins: Sequence[str | Path] | None = None
) -> RunEnsemble: ...
@named
@checked
def load(
    run_folder: str | Path | list[Any] | tuple[Any, ...],
    device: str = "auto",
    *,
    plugins: Sequence[str | Path] | None = None,
    model: nn.Module | None = None,
) -> Run | RunEnsemble:
    """A run from its folder; to predict nothing else is needed, neither the dataset nor pretrained weights.

    A run of a plug-in's parts needs the plug-in, too. The folder only names it: it is run if ``plugins`` names it, or
    if you have allowed that very file before, see :mod:`mmfusion.experiments.trust`.

    Args:
        run_folder: With ``settings.json``, ``case.json`` and ``best.safetensors``; or a file of weights next to the
            other two; or several folders, whose mean predicts.
        device: ``auto``, ``cpu`` or ``cuda``.
        plugins: The plug-ins to run in place of those that the folder names; empty: none.
        model: For a run of a module of your own: one like it, which is copied and given the trained weights.

    Raises:
        FileNotFoundError: If the folder does not hold a run, a plug-in is not there, or the run has no chosen weights
            yet; names the file.
        mmfusion.registry.PluginError: If the folder names a plug-in that was not allowed, or one fails.
        ValueError: If a newer version of the package wrote it, or the weights are of another model.
    """
    run: Run | RunEnsemble
    if isinstance(run_folder, str | Path):
        run = Run(run_folder, device, plugins=plugins, model=model)
    else:
        run = RunEnsemble([Path(place) for place in run_folder], device, plugins)
    _ = run._predictor  # what is wrong with the folder is an error here, not at its first use
    return run
