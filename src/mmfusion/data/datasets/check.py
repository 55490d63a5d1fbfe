"""Check of a dataset's folder: counts compared with the published ones, and all faults."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmfusion import registry
from mmfusion.data.datasets.derm7pt import plan as plan_derm7pt
from mmfusion.data.datasets.faults import DatasetError
from mmfusion.data.datasets.ham10000 import plan as plan_ham10000
from mmfusion.data.datasets.men import plan as plan_men
from mmfusion.data.datasets.pad_ufes_20 import plan as plan_pad_ufes_20
from mmfusion.data.datasets.plan import Plan, Planner
from mmfusion.data.datasets.table import plan as plan_table
from mmfusion.data.images.axes_survey import axes_notes
from mmfusion.data.images.sources import check_images, find_images
from mmfusion.data.reader import Progress
from mmfusion.data.schema.ranges import outside_notes
from mmfusion.data.splits import SETS

PLANNERS: Mapping[str, Planner] = {
    "derm7pt": plan_derm7pt,
    "ham10000": plan_ham10000,
    "men": plan_men,
    "pad-ufes-20": plan_pad_ufes_20,
    "table": plan_table,
}
"""Datasets that read files."""


@dataclass(frozen=True)
class Report:
    """Result of a check.

    Attributes:
        name: The dataset.
        lines: Counts and notes.
        faults: One line per fault; empty without faults.
    """

    name: str
    lines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        end = f"{len(self.faults)} fault(s):" if self.faults else f"{self.name}: no faults"
        return "\n".join([*self.lines, end, *(f"- {fault}" for fault in self.faults)])


def check(
    name: str,
    root: Path | str | None = None,
    *,
    full: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Check a dataset's folder.

    Tables, folders and names are checked first; then the header of every image, or with ``full`` every pixel.

    Args:
        name: Registered name of a dataset that reads files.
        root: Its folder.
        full: Decode every image, since a file may be damaged after its header.
        progress: Called with the number of images checked so far and of all images.
        options: Options of the dataset.

    Returns:
        Counts by set and class with the published ones, and all faults.

    Raises:
        ValueError: If the dataset or an option is unknown, or it reads no files.
    """
    registry.datasets.get(name)
    if name not in PLANNERS:
        raise ValueError(f"dataset {name!r} has no files to check; datasets with files: {', '.join(PLANNERS)}")
    registry.check_options(f"dataset {name!r}", registry.datasets.get(name), options)
    try:
        plan = PLANNERS[name](root, **options)
    except DatasetError as error:
        return Report(name, faults=error.faults)
    except (ValueError, OSError) as error:
        return Report(name, faults=(str(error),))
    faults = check_images(
        plan.reader.images, plan.frame, plan.root, missing=plan.missing_images, decode=full, progress=progress
    )
    lines = _counted(plan, faults)
    if plan.reader.images:
        lines += axes_notes(plan.reader.images, plan.frame, find_images(plan.reader.images, plan.frame, plan.root))
    return Report(name, tuple(lines), tuple(faults))


def _counted(plan: Plan, faults: list[str]) -> list[str]:
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
            texts = []
            for name, published in {**dict.fromkeys(counts, -1), **plan.published.get(set_name, {})}.items():
                n = counts[name] if name else sum(counts.values())
                label = name or "cases"
                texts.append(f"{label} {n}" + (f" (published {published})" if published >= 0 else ""))
                if published >= 0:
                    fewer |= n < published
                if 0 <= published < n:
                    faults.append(f"{title}{set_name}: {n} of {label} are more than the {published} published")
            lines.append(f"{title}{set_name}: {', '.join(texts)}")
    if fewer:
        lines.append("This is a part of the published data: results are not comparable with those on all of it.")
    frames = {name: plan.frame.iloc[rows] for name, rows in zip(SETS, plan.split, strict=True)}
    schema = plan.reader.schema
    remarks = () if schema is None else schema.remarks
    return [*lines, *plan.notes, *outside_notes(schema, frames), *(f"! {remark}" for remark in remarks)]
