"""Prediction and evaluation by one run or by the mean of several."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import pandas as pd

from mmfusion.experiments import console, ensemble, folder, spreadsheet
from mmfusion.experiments.argument_names import named
from mmfusion.experiments.ensemble import Ensemble
from mmfusion.experiments.external import ExternalEvaluation, evaluate, files
from mmfusion.experiments.predictor import Predictor, cases_of
from mmfusion.metrics.conformal import COVERAGE
from mmfusion.option_checks import checked
from mmfusion.options import Range
from mmfusion.training import result_files
from mmfusion.training.reporter import Reporter

Missing = Literal["error", "absent"]


class Predicting:
    """What runs do with other cases.

    Args:
        folders: Of the runs; or files of weights in them.
        device: ``auto``, ``cpu`` or ``cuda``.
        plugins: As for :func:`~mmfusion.load`.
    """

    def __init__(
        self, folders: Sequence[Path], device: str = "auto", plugins: Sequence[str | Path] | None = None
    ) -> None:
        self._folders = tuple(folders)
        self._device = device
        self._plugins = plugins

    @functools.cached_property
    def _predictor(self) -> Predictor | Ensemble:
        return ensemble.load(self._folders, self._device, plugins=self._plugins)

    @named
    @checked
    def predict(
        self,
        table: pd.DataFrame | str | Path,
        image_root: str | Path | None = None,
        missing_images: Missing = "error",
        *,
        coverage: Annotated[float, Range(0, 1, above=True, below=True)] = COVERAGE,
        out: str | Path | None = None,
        formulas: bool = False,
        say: Callable[[str], None] | None = None,
    ) -> pd.DataFrame:
        """Predictions for new cases.

        Args:
            table: One row per case: a frame or a file.
            image_root: The folder that the image names are relative to; None: that of the file, or the working folder.
            missing_images: What a missing image file or image column means: an error, or that the case lacks it.
            coverage: Of conformal sets, above 0 and below 1, if the run has calibration cases (``train.calibration``).
            out: New CSV file of the predictions; None: they are returned alone.
            formulas: Whether its texts may be formulas for a spreadsheet program; else such a text has an apostrophe
                before it.
            say: Receives remarks; None: each is a warning.

        Returns:
            One row per case, with the frame's index: ``prob_<class>``, ``calibrated_<class>``, ``label``, ``missing``
            and ``outside``; see :meth:`Predictor.predict <mmfusion.experiments.predictor.Predictor.predict>`.

        Raises:
            ValueError: As there.
            FileNotFoundError: As there, or if the table does not exist.
            FileExistsError: If ``out`` exists; before anything is read.
        """
        if out is not None and Path(out).exists():
            raise FileExistsError(f"{out} exists already: choose another file by out=...")
        frame, root = cases_of(table, image_root)
        result = self._predictor.predict(frame, root, missing_images, coverage=coverage, say=say)
        if out is not None:
            result_files.write_text(Path(out), spreadsheet.to_csv(result, formulas=formulas))
        for name in self.absent(frame, missing_images):
            (say or warnings.warn)(f"all cases lack {name}: the table has none of its columns")
        return result

    def absent(self, frame: pd.DataFrame, missing_images: Missing = "error") -> tuple[str, ...]:
        """Modalities that the model uses and all cases of a table lack, since it has none of their columns.

        Args:
            frame: The table.
            missing_images: As for :meth:`predict`: with ``"error"`` an image's column must exist.

        Raises:
            ValueError: If nothing is left to predict from; names the columns.
        """
        return self._predictor.absent(frame, missing_images)

    @named
    @checked
    def evaluate(
        self,
        table: pd.DataFrame | str | Path,
        *,
        target: str | None = None,
        group: str | None = None,
        image_root: str | Path | None = None,
        missing_images: Missing = "error",
        rename: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        subgroups: Sequence[str] | None = None,
        training: bool = True,
        training_root: str | Path | None = None,
        out: str | Path | None = None,
        formulas: bool = False,
        verbose: bool | Reporter = True,
    ) -> ExternalEvaluation:
        """Evaluate on another labelled table, another hospital's say, at the locked threshold and temperature.

        Args:
            table: One row per case: a frame or a file.
            target: The table's column of labels; None: that of the run.
            group: The table's column of patients or lesions; None: that of the run.
            image_root: The folder that the image names are relative to; None: that of the file, or the working folder.
            missing_images: As for :meth:`predict`.
            rename: The run's heading by the table's.
            aliases: Other spellings of classes, with the run's class.
            subgroups: Columns for results per subgroup; None: those of the run's dataset.
            training: Whether the run's own cases are read again, for shifts and duplicates.
            training_root: Where the run's dataset is now, if it was moved.
            out: New folder of the results and their page, see :func:`mmfusion.write_evaluation`; None:
                ``external/<name of the table>`` in the run's folder, and for a frame nowhere.
            formulas: Whether texts in CSV files may be formulas for a spreadsheet program.
            verbose: True to show the results, False for silence, or a reporter.

        Raises:
            ValueError: As for :func:`~mmfusion.experiments.external.validation.evaluate`.
            FileNotFoundError: As there.
            FileExistsError: If the folder of the results exists.
        """
        if out is None and isinstance(table, str | Path):
            out = folder.home(self._folders[0]) / "external" / Path(table).stem
        if out is not None:
            files.check_free(Path(out))
        reporter = console.reporter_of(verbose)
        evaluation = evaluate(
            self._folders,
            table,
            predictor=self._predictor,
            image_root=image_root,
            missing_images=missing_images,
            label=target,
            group=group,
            rename=rename,
            aliases=aliases,
            subgroups=subgroups,
            training=training,
            training_root=training_root,
            reporter=reporter,
        )
        if out is not None:
            from mmfusion.comparison.report import external_page  # slow to import, and predictions do without

            page = external_page.write_evaluation(evaluation, out, formulas=formulas)
        if evaluation.scores is not None:
            reporter.show(files.table(evaluation))
        for sentence in evaluation.sentences():
            reporter.say(sentence)
        if out is not None:
            reporter.say(f"The results are in {page}")
        return evaluation


class RunEnsemble(Predicting):
    """Several runs as one, the seeds of a method say: the mean of their probabilities, decided as one model.

    Made by :func:`~mmfusion.load` of several folders, and by :meth:`Study.ensemble <mmfusion.Study.ensemble>`.
    """

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of the runs."""
        return self._folders

    @property
    def about(self) -> str:
        """A sentence on where threshold and temperature come from."""
        return self._predictor.about if isinstance(self._predictor, Ensemble) else ""

    def explain(self, *_: object, **__: object) -> NoReturn:
        """Not of several runs: their mean has no maps and no embeddings of its own.

        Raises:
            ValueError: Always; says how to explain one of them.
        """
        first = str(self._folders[0])
        raise ValueError(f"explain expects one run, got {len(self._folders)}: mmfusion.load({first!r}).explain(...)")

    def __repr__(self) -> str:
        return f"RunEnsemble({', '.join(repr(str(folder)) for folder in self._folders)})"
