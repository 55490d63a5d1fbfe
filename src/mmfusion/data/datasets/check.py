"""Check of a dataset: counts compared with the published ones, all faults, and what could mislead a model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.examine import examine
from mmfusion.data.checks.finding import Finding
from mmfusion.data.checks.image_files import ImageFile, read_files
from mmfusion.data.checks.page import write_page
from mmfusion.data.datasets.faults import DatasetError
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.datasets.planned import PlannedDataset
from mmfusion.data.images.axes_survey import axes_notes
from mmfusion.data.images.sources import absent_faults, find_images
from mmfusion.data.reader import Progress
from mmfusion.data.schema.ranges import outside_notes
from mmfusion.data.splits import SETS
from mmfusion.registry import check_options, datasets

_WITHOUT = (
    "Restore the files, or correct their names; a case may lack an image whose cell is empty if missing images are "
    "allowed (missing_images='absent', if the dataset has the option)."
)


@dataclass(frozen=True)
class Report:
    """Result of a check.

    Attributes:
        name: The dataset.
        lines: Counts and notes.
        faults: One line per fault, which would stop a run; empty without faults.
        warnings: What could mislead a model, or a reader of its results.
        plan: The dataset; None if its table has faults.
        of_files: Whether image files are missing or damaged.
    """

    name: str
    lines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()
    plan: Plan | None = field(default=None, repr=False, compare=False)
    of_files: bool = False

    def write_page(self, path: Path | str) -> None:
        """Write the report as one HTML file with thumbnails of each class; it holds images of patients.

        Raises:
            ValueError: If the table has faults, so that there is nothing to show.
            OSError: If the file cannot be written.
        """
        if self.plan is None:
            raise ValueError(f"no page of {self.name!r} can be written before its table is without faults: correct it")
        write_page(path, self.plan, self.lines, self.warnings, self.faults)

    def __str__(self) -> str:
        warnings = [f"{len(self.warnings)} warning(s):"] if self.warnings else []
        end = f"{len(self.faults)} fault(s):" if self.faults else f"{self.name}: no faults"
        return "\n".join(
            [
                *(*self.lines, *warnings),
                *(f"- {warning}" for warning in self.warnings),
                *(end, *(f"- {fault}" for fault in self.faults)),
                *([_WITHOUT] if self.of_files else []),
            ]
        )


def check(
    name: str,
    root: Path | str | None = None,
    *,
    fast: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Check a dataset.

    Tables, folders and names are checked first; then the header of every image, and every pixel. Warnings
    are of what no run would stop at: images in two sets, cells that mean missing, files that give the class away.

    Args:
        name: Name of a dataset that is registered with a planner.
        root: Its folder.
        fast: Only read the headers of images. A file that is damaged after its header is then not noticed, and images
            are the same only where their files are.
        progress: Called with the number of images checked so far and of all images.
        options: Options of the dataset.

    Returns:
        Counts by set and class with the published ones, all faults and all warnings.

    Raises:
        ValueError: If the dataset or an option is unknown, or it is registered without a planner.
    """
    dataset, name = datasets.get(name), datasets.canonical(name)
    if not isinstance(dataset, PlannedDataset):
        raise ValueError(
            f"dataset {name!r} cannot be checked: it is registered without a planner (a function with the decorator "
            "mmfusion.data.planned_dataset), because it reads no files or its author gave none"
        )
    if root is not None or "root" in datasets.options(name):
        options["root"] = root
    check_options(f"dataset {name!r}", dataset, options)
    try:
        plan = dataset.plan(**options)
    except DatasetError as error:
        return Report(name, faults=error.faults)
    except (ValueError, OSError) as error:
        return Report(name, faults=(str(error),))
    sources = plan.reader.images
    files: list[ImageFile] = []
    faults: list[str] = []
    if sources:
        found = find_images(sources, plan.frame, plan.root)
        files = read_files(sources, plan.frame, found, decode=not fast, progress=progress)
        faults += [*found.excess, *(absent_faults(found) if plan.missing_images == "error" else [])]
        faults += [file.fault for file in files if file.fault]
    faults += [fault for masks in plan.masks.values() for fault in masks.faults(plan.frame)]
    of_files = bool(faults)
    lines = _counts(plan, faults)
    if sources:
        lines += [f"masks of {name!r}: {masks.n_present} of {len(masks)} images" for name, masks in plan.masks.items()]
        lines += axes_notes(sources, plan.frame, found)
    return Report(name, tuple(lines), tuple(faults), examine(Cohort.of(plan), files, sources), plan, of_files)


def _counts(plan: Plan, faults: list[str]) -> list[str]:
    """Lines of counts; counts above the published ones are added to the faults."""
    lines, fewer = [], False
    for kind, n, published in plan.sizes:
        lines.append(f"{kind}: {n}, published {published}")
        fewer |= n < published
        if n > published:
            faults.append(f"{n} {kind} are more than the {published} published")
    by_target = plan.counts()
    for target, sets in by_target.items():
        title = "" if len(by_target) == 1 else f"{target}, "
        whole = {name: sum(counts[name] for counts in sets.values()) for name in next(iter(sets.values()))}
        for set_name, counts in {**sets, "all": whole}.items():
            published_counts = plan.published.get(set_name, {})
            texts = []
            for name in {**counts, **published_counts}:
                n, label = counts[name] if name else sum(counts.values()), name or "cases"
                published = published_counts.get(name, n)
                texts.append(f"{label} {n}" + (f" (published {published})" if name in published_counts else ""))
                fewer |= n < published
                if n > published:
                    faults.append(f"{title}{set_name}: {n} of {label} are more than the {published} published")
            lines.append(f"{title}{set_name}: {', '.join(texts)}")
    if fewer:
        lines.append("This is a part of the published data: results are not comparable with those on all of it.")
    frames = {name: plan.frame.iloc[rows] for name, rows in zip(SETS, plan.split, strict=True)}
    # Remarks on cells are among the warnings, with the cells.
    notes = [note for note in plan.notes if not note.startswith("Look at this: ")]
    return [*lines, *notes, *outside_notes(plan.schema, frames)]
