"""The files of an explanation."""

from pathlib import Path

from mmfusion.experiments import spreadsheet
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.experiments.folder import check_results
from mmfusion.training.result_files import write_json, write_text

RESULT = "explanation.json"
CONTRIBUTIONS = "contributions.csv"


def check_free(folder: Path) -> None:
    """See :func:`mmfusion.experiments.folder.check_results`."""
    check_results(folder, RESULT, "an explanation")


def write(explanation: Explanation, folder: str | Path, *, formulas: bool = False) -> Path:
    """Write the numbers as ``explanation.json`` and the contributions as ``contributions.csv``.

    Args:
        explanation: The result.
        folder: Where; made if it does not exist. A former explanation in it is replaced.
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
    # First: a folder that has it is an explanation's.
    write_json(place / RESULT, explanation.to_dict())
    write_text(place / CONTRIBUTIONS, spreadsheet.to_csv(explanation.frame, formulas=formulas))
    return place
