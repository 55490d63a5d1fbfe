"""The pages of an explanation: a cohort's, and a sheet for each case, each one self-contained file."""

import re
from pathlib import Path

from mmfusion.comparison.report.canvas import Picture, png
from mmfusion.comparison.report.sheets.cohort_page import cohort_page
from mmfusion.comparison.report.sheets.overlay import as_png
from mmfusion.comparison.report.sheets.sheet_page import sheet_page
from mmfusion.experiments.explaining import explanation_files
from mmfusion.experiments.explaining.explanation import Explanation
from mmfusion.training.result_files import write_bytes, write_text

HTML = "explanation.html"
SHEETS, FIGURES = "sheets", "figures"
_LONGEST = 60


def write_explanation(explanation: Explanation, folder: str | Path, *, formulas: bool = False) -> Path:
    """Write the pages and their pictures next to the numbers.

    Args:
        explanation: The result.
        folder: Where; a former explanation in it is replaced.
        formulas: As for :func:`mmfusion.experiments.explaining.explanation_files.write`.

    Returns:
        The cohort's page, ``explanation.html``. It lists the sheets, ``sheets/*.html``; each page needs no other file
        to be read. ``figures/*.png`` are the pictures, images as large as they are stored.

    Raises:
        FileExistsError: If the folder holds other files.
        mmfusion.training.result_files.WriteError: If a file cannot be written.
    """
    names = [f"{number:02d}-{file_name(sheet.id)}" for number, sheet in enumerate(explanation.sheets, start=1)]
    place = explanation_files.write(explanation, folder, formulas=formulas)
    sheets, figures = place / SHEETS, place / FIGURES
    for home, old in ((sheets, "[0-9]*-*.html"), (figures, "*.png")):
        home.mkdir(exist_ok=True)
        for path in home.glob(old):
            path.unlink()
    for number, (name, sheet) in enumerate(zip(names, explanation.sheets, strict=True)):
        links = [(f"../{HTML}", "All sheets, and the cohort")]
        links += [(f"{names[number - 1]}.html", "Previous sheet")] if number else []
        links += [(f"{names[number + 1]}.html", "Next sheet")] if number + 1 < len(names) else []
        page = sheet_page(explanation, sheet, links)
        write_text(sheets / f"{name}.html", page.html)
        _write(figures, name, page.pictures)
        for kind, image in page.images.items():
            write_bytes(figures / f"{name}-{file_name(kind)}.png", as_png(image))
    cohort = cohort_page(explanation, [f"{SHEETS}/{name}.html" for name in names])
    _write(figures, "cohort", cohort.pictures)
    # Last: it refers to the other pages.
    write_text(place / HTML, cohort.html)
    return place / HTML


def file_name(text: str) -> str:
    """A text as a part of a file's name: other signs than letters, digits, dots and hyphens become underscores."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", text)[:_LONGEST].strip(".") or "case"


def _write(folder: Path, name: str, pictures: tuple[Picture, ...]) -> None:
    for picture in pictures:
        write_bytes(folder / f"{name}-{picture.key}.png", png(picture))
