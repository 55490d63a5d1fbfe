"""Explanation of a run's cases."""

from pathlib import Path
from typing import Annotated

import pandas as pd

from mmfusion.api.predicting import Missing, Predicting
from mmfusion.comparison.report.explanation_page import write_explanation
from mmfusion.experiments import console, explaining
from mmfusion.experiments.argument_names import named
from mmfusion.experiments.ensemble import Ensemble
from mmfusion.experiments.explaining import ExplainOptions, Explanation, explanation_files
from mmfusion.experiments.predictor import Predictor
from mmfusion.explain.regions import Baseline
from mmfusion.metrics.conformal import COVERAGE
from mmfusion.option_checks import checked
from mmfusion.options import Range
from mmfusion.training.reporter import Reporter


class Explaining(Predicting):
    """What one run says of its cases; see :class:`~mmfusion.api.predicting.Predicting`."""

    @named
    @checked
    def explain(
        self,
        cases: str | list[str] | tuple[str, ...] = ("worst", "best", "random"),
        *,
        n: Annotated[int, Range(1, 1000)] = 8,
        table: pd.DataFrame | str | Path | None = None,
        image_root: str | Path | None = None,
        missing_images: Missing = "error",
        target_class: str | None = None,
        map_method: str = "grad_cam",
        at: int = -1,
        regions: int = 12,
        baseline: Baseline = "blur",
        n_orders: int | None = None,
        n_cohort: int = 48,
        n_faithfulness: int = 16,
        n_neighbors: int = 5,
        seed: int = 0,
        coverage: float = COVERAGE,
        training: bool = True,
        training_root: str | Path | None = None,
        out: str | Path | None = None,
        formulas: bool = False,
        verbose: bool | Reporter = True,
    ) -> Explanation:
        """Explain cases: where in the images, what each column and modality adds, which training cases they resemble.

        What cannot be made of a case or a model is empty, with its reason.

        Args:
            cases: ``"worst"``, ``"best"``, ``"random"`` or names of cases, in one text divided by commas or a list.
                Worst and best are those of the highest and the lowest loss and need labels.
            n: Sheets in all, unless more cases are named.
            table: Other cases, a frame or a file, with or without labels; None: the run's test set, read again.
            image_root: As for :meth:`predict`. Without a table: as ``training_root``.
            missing_images: As for :meth:`predict`.
            target_class: The class that is explained; None: of two the second, of more the one that each case is given.
            map_method: ``"grad_cam"``, ``"grad_cam_plus_plus"``, ``"hires_cam"``, ``"layer_cam"``, ``"score_cam"`` or
                ``"none"``.
            at: Where along the encoder: 0 is before its first stage, -1 behind its last.
            regions: About so many in each image; 0: images count as a whole.
            baseline: What a region is replaced by: ``"blur"``, ``"mean"`` or ``"zero"``.
            n_orders: Random orders of what cannot be enumerated; None: by the size of the images.
            n_cohort: Cases behind the means; 0: no means.
            n_faithfulness: Cases on which the faithfulness of the maps is measured, at most; 0: it is not.
            n_neighbors: Training cases on a sheet.
            seed: Of random cases, orders and the cohort.
            coverage: Of conformal sets.
            training: Whether the run's training cases are read again, for those that resemble, prototypes, and the
                worth of knowing what is missing.
            training_root: Where the run's dataset is now, if it was moved.
            out: Folder of the results and their pages; None: nothing is written.
            formulas: As for :meth:`evaluate`.
            verbose: True to show progress, False for silence, or a reporter.

        Raises:
            ValueError: If an option is out of its range, a case or a class is unknown (names the nearest), labels are
                needed and there are none, the test set cannot be read again, or as for :meth:`predict`.
            FileNotFoundError: As for :meth:`predict`.
            FileExistsError: If ``out`` holds other files.
        """
        options = ExplainOptions(
            target_class=target_class,
            map_method=map_method,
            at=at,
            regions=regions,
            baseline=baseline,
            n_orders=n_orders,
            n_cohort=n_cohort,
            n_faithfulness=n_faithfulness,
            n_neighbors=n_neighbors,
            seed=seed,
            coverage=coverage,
        )
        if out is not None:
            explanation_files.check_free(Path(out))
        reporter = console.reporter_of(verbose)
        explanation = explaining.explain(
            self._folders[0],
            self._one_run(),
            cases,
            n=n,
            options=options,
            table=table,
            image_root=image_root,
            missing_images=missing_images,
            training=training,
            training_root=image_root if table is None and training_root is None else training_root,
            reporter=reporter,
        )
        if out is not None:
            reporter.say(f"The explanation is in {write_explanation(explanation, out, formulas=formulas)}")
        return explanation

    def _one_run(self) -> Predictor:
        predictor = self._predictor
        if isinstance(predictor, Ensemble):
            raise ValueError(f"explain expects one run, got {len(predictor.members)}")
        return predictor
