"""Whether a dataset's folder is complete and whole: counts beside the published ones, every fault by name."""

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
    """What a check found.

    Attributes:
        name: The dataset.
        lines: Counts and notes, to be read.
        faults: A line for each fault; empty: all is well.
    """

    name: str
    lines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        end = f"{len(self.faults)} fault(s):" if self.faults else f"{self.name}: no fault was found"
        return "\n".join([*self.lines, end, *(f"- {fault}" for fault in self.faults)])


def check(
    name: str,
    root: Path | str | None = None,
    *,
    full: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Report:
    """Look through a dataset's folder.

    Tables, folders and names come first; then every image's header, or with ``full`` every pixel.

    Args:
        name: Registered name of a dataset that reads files.
        root: Its folder.
        full: Decode every image: a file may be damaged behind its header.
        progress: Called with the images looked at so far and their number.
        options: The dataset's own.

    Returns:
        Counts by part and class beside the published ones, and all faults.

    Raises:
        ValueError: If the dataset or an option is unknown, or it reads no files.
    """
    registry.datasets.get(name)
    if name not in PLANNERS:
        raise ValueError(f"dataset {name!r} reads no files that could be checked; those that do: {', '.join(PLANNERS)}")
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
    """Lines of counts; more than was published is a fault and added to these."""
    lines, fewer = [], False
    for what, found, published in plan.sizes:
        lines.append(f"{what}: {found}, published {published}")
        fewer |= found < published
        if found > published:
            faults.append(f"{found} {what} are more than the {published} published")
    every = plan.counts()
    for target, parts in every.items():
        title = "" if len(every) == 1 else f"{target}, "
        whole = {name: sum(counts[name] for counts in parts.values()) for name in next(iter(parts.values()))}
        for part, counts in {**parts, "all": whole}.items():
            said = []
            for name, published in {**dict.fromkeys(counts, -1), **plan.published.get(part, {})}.items():
                found = counts[name] if name else sum(counts.values())
                label = name or "cases"
                said.append(f"{label} {found}" + (f" (published {published})" if published >= 0 else ""))
                if published >= 0:
                    fewer |= found < published
                if 0 <= published < found:
                    faults.append(f"{title}{part}: {found} of {label} are more than the {published} published")
            lines.append(f"{title}{part}: {', '.join(said)}")
    if fewer:
        lines.append("This is a part of the published set: results on it do not compare with those on the whole.")
    frames = {name: plan.frame.iloc[rows] for name, rows in zip(SETS, plan.split, strict=True)}
    schema = plan.reader.schema
    remarks = () if schema is None else schema.remarks
    return [*lines, *plan.notes, *outside_notes(schema, frames), *(f"! {remark}" for remark in remarks)]
