"""The files of an external validation."""

from pathlib import Path
from typing import Any

import pandas as pd

from mmfusion.experiments import spreadsheet
from mmfusion.experiments.external.external_evaluation import ExternalEvaluation
from mmfusion.experiments.folder import check_results
from mmfusion.experiments.rich_table import rich_table
from mmfusion.experiments.run_report import interval_cell
from mmfusion.metrics.intervals import Estimate
from mmfusion.training.result_files import write_json, write_text

RESULT = "evaluation.json"
CASES = "cases.csv"
DUPLICATES = "duplicates.csv"


def check_free(folder: Path) -> None:
    """See :func:`mmfusion.experiments.folder.check_results`."""
    check_results(folder, RESULT, "an evaluation")


def write(evaluation: ExternalEvaluation, folder: str | Path, *, formulas: bool = False) -> Path:
    """Write the numbers as ``evaluation.json``, the cases as ``cases.csv`` and which of them resemble training cases as
    ``duplicates.csv``; a former evaluation is replaced.

    Args:
        evaluation: The result.
        folder: Where; made if it does not exist.
        formulas: As for :func:`mmfusion.experiments.spreadsheet.to_csv`.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder holds other files.
        mmfusion.training.result_files.WriteError: If a file cannot be written.
    """
    place = Path(folder)
    check_free(place)
    place.mkdir(parents=True, exist_ok=True)
    # First: a folder that has it is an evaluation's.
    write_json(place / RESULT, evaluation.to_dict())
    write_text(place / CASES, spreadsheet.to_csv(evaluation.cases, formulas=formulas))
    pairs = pd.DataFrame(evaluation.duplicates, columns=["case", "training", "what"])
    write_text(place / DUPLICATES, spreadsheet.to_csv(pairs, formulas=formulas))
    return place


def table(evaluation: ExternalEvaluation) -> Any:
    """Metrics on the table, on the run's test set and their difference, for rich.

    Args:
        evaluation: With scores.
    """
    here, there = evaluation.scores, evaluation.internal
    if here is None:
        raise ValueError("the evaluation has no metrics, since no row has a label of the run's classes")
    columns = ["metric", f"{evaluation.table}\n{_size(here.n_cases, here.n_groups)}"]
    if there is not None:
        columns += [f"the run's test set\n{_size(there.n_cases, there.n_groups)}", "difference"]
    rows = []
    for name, value in here.metrics.items():
        row = [name, interval_cell(value.to_dict())]
        if there is not None:
            change = evaluation.changes.get(name, (float("nan"),) * 3)
            cells = (there.metrics.get(name), Estimate(*change, float("nan")))
            row += [interval_cell(cell.to_dict()) if cell is not None else "" for cell in cells]
        rows.append(row)
    locked = evaluation.locked
    at = "the likeliest class" if locked.threshold is None else f"the threshold {locked.threshold:.3f}"
    caption = (
        f"95% intervals for other cases. All metrics of a decision are at {at}, which the run chose on validation."
    )
    return rich_table(f"{', '.join(evaluation.runs)} on {evaluation.table}", columns, rows, caption=caption)


def _size(n_cases: int, n_groups: int) -> str:
    return f"{n_cases} cases" + (f" in {n_groups} groups" if n_groups != n_cases else "")
