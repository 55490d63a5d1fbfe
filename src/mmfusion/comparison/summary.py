"""Table of a sweep, one row per method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import pandas as pd

from mmfusion.comparison.reference_choice import sees_embeddings
from mmfusion.comparison.sweep import Outcome
from mmfusion.experiments import folder
from mmfusion.experiments.reference_features import EMBEDDINGS
from mmfusion.experiments.rich_table import rich_table
from mmfusion.experiments.spreadsheet import write_rows
from mmfusion.training.result_files import read_json, write_text

CSV = "table.csv"
MARKDOWN = "table.md"
_HEADER = ("dataset", "method", "runs", "auc", "auc_sd", "auc_by_run", "gap_closed", "parameters", "seconds")


@dataclass(frozen=True)
class Row:
    """A method on a dataset.

    Attributes:
        dataset: Registered name.
        method: Its label.
        aucs: Test AUC of each run, by seed and fold; undefined ones are left out.
        interval: 95% interval of a single run; None for several runs, or if it is undefined.
        ceilings: Ceilings of the dataset; empty if they are unknown.
        parameters: Parameters of the model; None for a reference row.
        seconds: Median of the training times; None if they were not recorded.
        undefined: Number of runs with an undefined AUC.
    """

    dataset: str
    method: str
    aucs: tuple[float, ...]
    interval: tuple[float, float] | None
    ceilings: Mapping[str, float]
    parameters: int | None
    seconds: float | None
    undefined: int = 0

    @property
    def mean(self) -> float | None:
        """Mean of the AUCs."""
        return fmean(self.aucs) if self.aucs else None

    @property
    def spread(self) -> float | None:
        """Standard deviation of the AUCs."""
        return stdev(self.aucs) if len(self.aucs) > 1 else None

    @property
    def gap_closed(self) -> float | None:
        """Share of the gap from the better ceiling of one modality (0) to that of both (1)."""
        if self.mean is None or not {"image", "table", "both"} <= set(self.ceilings):
            return None
        single = max(self.ceilings["image"], self.ceilings["table"])
        gap = self.ceilings["both"] - single
        return (self.mean - single) / gap if gap > 0 else None


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """One row per method and dataset, in the order of the outcomes; failed runs, those without a test set and repeats
    are left out.
    """
    by_method: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for outcome in outcomes:
        chosen = outcome.planned.settings.run
        if outcome.metrics is not None and chosen.test and not chosen.repeat:
            key = chosen.dataset, outcome.planned.label
            by_method.setdefault(key, []).append(outcome.metrics)
    return [_row(*key, runs) for key, runs in by_method.items()]


def reference_rows(places: Sequence[Path]) -> list[Row]:
    """The reference rows, from the folders of :func:`~mmfusion.comparison.reference_rows.beside`."""
    by_method: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for place in places:
        metrics = read_json(place / folder.METRICS)
        name = metrics["model"] + ("" if sees_embeddings(metrics["model"]) else ", table alone")
        by_method.setdefault((metrics["dataset"], name), []).append(metrics)
    return [_row(*key, runs) for key, runs in by_method.items()]


def ahead(rows: Sequence[Row], references: Sequence[Row]) -> list[str]:
    """A sentence for each dataset on which a reference row has the highest mean test AUC of all rows."""
    lines = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        means = [row.mean for row in rows if row.dataset == dataset and row.mean is not None]
        known = [row for row in references if row.dataset == dataset and row.mean is not None]
        if means and known:
            best = max(known, key=lambda row: row.mean or 0.0)
            if best.mean is not None and best.mean > max(means):
                why = "none of them uses the table as well"
                if best.method.startswith(EMBEDDINGS):
                    why = "what they learn behind the encoder is not better than a model of its frozen features"
                lines.append(
                    f"On {dataset}, {best.method}, has a higher mean test AUC ({best.mean:.3f}) than every method here "
                    f"({max(means):.3f} at best): {why}."
                )
    return lines


def _row(dataset: str, method: str, runs: Sequence[Mapping[str, Any]]) -> Row:
    aucs = [run["test"]["auc"] for run in runs]
    only = aucs[0]
    seconds = [run["cost"]["seconds"] for run in runs if "seconds" in run["cost"]]
    interval = None if len(runs) > 1 or only["low"] is None else (only["low"], only["high"])
    return Row(
        dataset,
        method,
        tuple(auc["value"] for auc in aucs if auc["value"] is not None),
        interval,
        runs[0]["ceilings"],
        runs[0]["cost"].get("parameters", {}).get("total"),
        median(seconds) if seconds else None,
        sum(auc["value"] is None for auc in aucs),
    )


def ranking(rows: Sequence[Row], *, n_references: int = 0) -> pd.DataFrame:
    """The rows as a frame, the highest mean test AUC first within a dataset.

    Args:
        rows: Of methods, then reference rows.
        n_references: Number of reference rows.
    """
    columns = ("dataset", "method", "runs", "auc", "auc_sd", "gap_closed", "parameters", "seconds", "reference_row")
    cells = [
        (
            *(row.dataset, row.method, len(row.aucs) + row.undefined, row.mean, row.spread, row.gap_closed),
            *(row.parameters, row.seconds, number >= len(rows) - n_references),
        )
        for number, row in enumerate(rows)
    ]
    order = list(dict.fromkeys(row.dataset for row in rows))
    frame = pd.DataFrame(cells, columns=list(columns))
    numbers = ["auc", "auc_sd", "gap_closed", "parameters", "seconds"]
    frame[numbers] = frame[numbers].astype(float)
    by = frame.assign(place=frame["dataset"].map({name: place for place, name in enumerate(order)}))
    best = by.sort_values(["place", "auc"], ascending=[True, False], kind="stable", ignore_index=True)
    return best.drop(columns="place").set_index(["dataset", "method"])


def check_free(out: Path) -> None:
    """Check that a folder has no other file where the tables go, such as the user's own ``table.csv``.

    Args:
        out: Folder of a comparison; it need not exist.

    Raises:
        FileExistsError: Naming the file.
    """
    csv, markdown_file = out / CSV, out / MARKDOWN
    ours = False
    if csv.is_file():
        with csv.open("rb") as file:
            ours = file.readline().decode(errors="replace").strip() == ",".join(_HEADER)
    if not ours and (taken := [str(path) for path in (csv, markdown_file) if path.exists()]):
        raise FileExistsError(
            f"{' and '.join(taken)} would be replaced by a comparison's table, and is none: choose another folder "
            "(run.out)"
        )


def write(rows: Sequence[Row], out: Path) -> None:
    """``table.csv`` and ``table.md`` into a folder."""
    cells: list[tuple[object, ...]] = [_HEADER]
    for row in rows:
        by_run = " ".join(str(auc) for auc in row.aucs)
        parts = (row.dataset, row.method, len(row.aucs), row.mean, row.spread, by_run, row.gap_closed)
        cells.append((*parts, row.parameters, row.seconds))
    write_text(out / CSV, write_rows(cells))
    write_text(out / MARKDOWN, markdown(rows))


def markdown(rows: Sequence[Row]) -> str:
    """One table per dataset, followed by its ceilings if they are known."""
    parts = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        members = [row for row in rows if row.dataset == dataset]
        header = _header(members)
        lines = [header, ("---", "---", *["---:"] * (len(header) - 2)), *(_cells(row, header) for row in members)]
        text = f"`{dataset}`\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
        if ceilings := _ceilings(members[0]):
            text += f"\n{ceilings}\n"
        parts.append(text)
    return "\n".join(parts)


def table(rows: Sequence[Row], dataset: str) -> Any:
    """Table of one dataset, for rich."""
    members = [row for row in rows if row.dataset == dataset]
    header = _header(members)
    return rich_table(dataset, header, [_cells(row, header) for row in members], left=2, caption=_ceilings(members[0]))


def _ceilings(row: Row) -> str:
    known = ", ".join(f"{name} {value:.3f}" for name, value in row.ceilings.items())
    return f"Ceilings: {known}." if known else ""


def _header(rows: Sequence[Row]) -> tuple[str, ...]:
    several = any(len(row.aucs) > 1 for row in rows)
    auc = "test AUC, mean ± sd" if several else "test AUC (95% interval, other test cases only)"
    gap = ("gap closed",) if any(row.gap_closed is not None for row in rows) else ()
    runs = ("by run",) if any(len(row.aucs) > 1 for row in rows) else ()
    return ("method", auc, *runs, *gap, "parameters", "seconds")


def _cells(row: Row, header: Sequence[str]) -> tuple[str, ...]:
    if row.mean is None:
        auc = "undefined"
    elif row.interval is not None:
        auc = f"{row.mean:.3f} ({row.interval[0]:.3f} to {row.interval[1]:.3f})"
    else:
        auc = f"{row.mean:.3f}" + ("" if row.spread is None else f" ± {row.spread:.3f}")
        if row.undefined:
            auc += f", undefined in {row.undefined} of {row.undefined + len(row.aucs)}"
    cells = {
        "by run": " ".join(f"{value:.3f}" for value in row.aucs),
        "gap closed": "" if row.gap_closed is None else f"{row.gap_closed:.0%}",
        "parameters": "" if row.parameters is None else f"{row.parameters:,}",
        "seconds": "" if row.seconds is None else f"{row.seconds:.0f}",
    }
    return (row.method, auc, *(cells[name] for name in header[2:]))
