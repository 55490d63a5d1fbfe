"""Files of a report."""

from collections.abc import Mapping
from pathlib import Path

from mmfusion.comparison.analysis.results import Analysis
from mmfusion.comparison.report import pages, tables
from mmfusion.training.result_files import write_text

HTML, MARKDOWN = "report.html", "report.md"


def write(
    analysis: Analysis, folder: str | Path, *, skipped: Mapping[str, str] | None = None, formulas: bool = False
) -> Path:
    """Write ``report.html``, ``report.md`` with its ``figures/*.svg``, and the numbers as CSV.

    The same analysis gives the same bytes. Files of a former report in that folder are replaced, its other figures and
    tables removed; all other files stay.

    Args:
        analysis: The numbers.
        folder: Folder of the report; created if it does not exist.
        skipped: Folders that were left out, each with the reason.
        formulas: Leave texts in the CSV files unchanged, also those that a spreadsheet program would compute.

    Returns:
        The page, ``report.html``: it needs none of the other files.

    Raises:
        FileExistsError: If the folder is a file.
        WriteError: If the disk is full or the folder cannot be written.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise FileExistsError(f"{place} is a file: choose another folder for the report")
    skipped = dict(skipped or {})
    page, markdown, pictures = pages.render(analysis, skipped)
    figures = place / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    files = {place / name: text for name, text in tables.tables(analysis, skipped, formulas=formulas).items()}
    files |= {figures / f"{picture.key}.svg": picture.file for picture in pictures}
    files[place / MARKDOWN] = markdown
    for name in (*(f"{name}.csv" for name in tables.NAMES), MARKDOWN):
        if place / name not in files:
            (place / name).unlink(missing_ok=True)
    for old in (*figures.glob("c[0-9]*.svg"), *figures.glob("across-*.svg")):
        if old not in files:
            old.unlink()
    for path, text in files.items():
        write_text(path, text)
    # Last: the page refers to the other files.
    write_text(place / HTML, page)
    return place / HTML
