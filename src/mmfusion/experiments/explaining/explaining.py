"""Explanation of a run's cases: sheets of some, and means over many."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from mmfusion.data.schema.subgroups import Subgroup
from mmfusion.experiments import folder
from mmfusion.experiments.explaining import case_set, resembling
from mmfusion.experiments.explaining.chosen_cases import choose, requests_of
from mmfusion.experiments.explaining.cohort import cohort_of
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.experiments.explaining.options import ExplainOptions
from mmfusion.experiments.explaining.resembling import Training
from mmfusion.experiments.explaining.sheets import SheetMaker
from mmfusion.experiments.explaining.trust_in_maps import trust_of
from mmfusion.experiments.external.training_cases import TrainingCases, reach
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor
from mmfusion.training.reporter import Reporter, Silent


def explain(
    place: str | Path,
    predictor: Predictor,
    cases: str | Sequence[str] = ("worst", "best", "random"),
    *,
    n: int = 8,
    options: ExplainOptions | None = None,
    table: pd.DataFrame | str | Path | None = None,
    image_root: str | Path | None = None,
    missing_images: Literal["error", "absent"] = "error",
    training: bool = True,
    training_root: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Explanation:
    """Explain cases of a run's test set, or of another table.

    Nothing is trained or fitted, and the model is left as it was. What cannot be made of a case or a model, as the
    contributions in a module that is no fusion model, is empty and has its reason.

    Args:
        place: Folder of the run, or a file of weights in it.
        predictor: Of the run.
        cases: See :func:`~mmfusion.experiments.explaining.chosen_cases.choose`.
        n: Sheets in all, unless more cases are named; at least 1.
        options: What to make; None: the defaults.
        table: Other cases, a frame or a file; labels are optional. None: the run's test set, read again.
        image_root: As for predictions.
        missing_images: As for predictions.
        training: Whether the training cases are read again, for resembling ones, prototypes and the worth of knowing
            what is missing; a run's folder holds no row of them.
        training_root: Where the run's dataset is now, if it was moved.
        reporter: Receives the progress; None: silent.

    Raises:
        ValueError: If a case or a class is unknown, the test set cannot be read again, or as for predictions.
        FileNotFoundError: As for predictions.
    """
    place, options, reporter = Path(place), options or ExplainOptions(), reporter or Silent()
    names = class_names(predictor.kind)
    if options.target_class is not None and options.target_class not in names:
        raise ValueError(f"target_class expects one of {', '.join(map(repr, names))}, got {options.target_class!r}")
    requests_of(cases)
    home = folder.home(place)
    if table is None and not folder.read_settings(home).run.test:
        raise ValueError(
            "the run leaves its test set untouched (run.test=false), and so do explanations: give the cases by "
            "table=..."
        )
    own = _own(home, table is None or training, training_root, reporter)
    if table is None:
        if isinstance(own, str):
            raise ValueError(
                f"the run's test set cannot be read again: {own}. Give the cases by table=..., or the folder of its "
                "dataset by training_root=..."
            )
        chosen_from = case_set.of_test_set(predictor, own, place)
    else:
        subgroups: Sequence[Subgroup] = own.subgroups if isinstance(own, TrainingCases) else ()
        chosen_from = case_set.of_table(predictor, table, image_root, missing_images, subgroups)
    chosen = choose(cases, chosen_from.dataset.ids, chosen_from.losses, n=n, seed=options.seed)
    known = _training(predictor, own, training, options.seed, reporter)
    maker = SheetMaker(predictor, chosen_from, options, known)
    sheets = maker.make(chosen, reporter)
    return Explanation(
        str(place),
        folder.read_settings(home).run.model,
        chosen_from.name,
        tuple(names),
        predictor.locked or Locked(finished=False),
        options,
        tuple(sheets),
        cohort_of(maker, reporter),
        trust_of(maker, reporter),
        resembling.has_anchors(predictor),
        None if isinstance(known, str) else (len(known.dataset), known.n),
        chosen_from.notes,
    )


def _own(home: Path, wanted: bool, root: str | Path | None, reporter: Reporter) -> TrainingCases | str:
    if not wanted:
        return "that was not asked for"
    own = reach(home, root, reporter)
    if isinstance(own, TrainingCases) and not len(own.test):
        return "it has none"
    return own


def _training(
    predictor: Predictor, own: TrainingCases | str, wanted: bool, seed: int, reporter: Reporter
) -> Training | str:
    """The training cases with their embeddings; or why they are not known."""
    if isinstance(own, str) or not wanted:
        return own if isinstance(own, str) else "that was not asked for"
    try:
        with reporter.working("embedding the training cases"):
            return resembling.training_of(predictor, own.train, seed)
    except ValueError as error:
        return " ".join(str(error).split())
