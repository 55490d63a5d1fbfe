"""A method with each of its parts taken out in turn: a run a folder, and a table of them all."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmfusion import registry
from mmfusion.layers.optional import need
from mmfusion.models.ablations import FULL, ablations_of
from mmfusion.training import folder, run
from mmfusion.training.files import read_json, write_text
from mmfusion.training.reporter import Reporter, Silent
from mmfusion.training.settings import Settings, merge

CSV = "ablations.csv"
MARKDOWN = "ablations.md"
# Where a run is computed and kept is not what it computes.
_PLACE = ("out", "device", "cache", "root", "plugins")


class AblationError(ValueError):
    """Some of the runs failed; the others are in the table."""


def ablate(
    settings: Settings,
    out: Path | None = None,
    reporter: Reporter | None = None,
    *,
    only: Sequence[str] = (),
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    """Run a method whole and without each of its parts, one after the other.

    Called again with the same settings, it skips what is finished and goes on with what was interrupted. What changes
    nothing about the settings is left out.

    Args:
        settings: Of the whole method; an ablation changes options of the model on top of them.
        out: The folder of the folders, one a name; None: ``runs/<dataset>/<model>/ablations-seed<seed>``.
        reporter: Told of the progress.
        only: Names of some; empty: all.
        overwrite: Start every one anew.

    Returns:
        One row a run, as in the table.

    Raises:
        ValueError: If the method has no ablations, or a folder holds a run of other settings; nothing was run then.
        AblationError: If some of the runs failed; the others were run and are in the table.
        Interrupted: If the user stops it.
    """
    reporter = reporter or Silent()
    chosen = settings.run
    out = out or folder.default(settings).with_name(f"ablations-seed{chosen.seed}")
    planned = {
        name: replace(settings, run=replace(chosen, out=str(out / name)), model=merge(settings.model, options))
        for name, options in ablations_of(chosen.model, only).items()
        if name == FULL or _changes(settings, options)
    }
    if not overwrite:
        _check_folders(planned)
    failed: dict[str, str] = {}
    for number, (name, one) in enumerate(planned.items(), start=1):
        reporter.say(f"{chosen.model}, {name} ({number} of {len(planned)})")
        try:
            _run(one, out / name, reporter, overwrite=overwrite)
        except run.Interrupted as stop:
            raise run.Interrupted(f"interrupted at {name}; the same command goes on from there") from stop
        except (ValueError, ImportError) as error:
            failed[name] = " ".join(str(error).split())
            reporter.say(f"{name} failed: {failed[name]}")
    rows = [_row(name, out / name) for name in planned if (out / name / folder.METRICS).is_file()]
    if rows:
        write_text(out / CSV, _csv(rows))
        write_text(out / MARKDOWN, _markdown(rows))
        reporter.show(_table(rows, f"{chosen.model} on {chosen.dataset}, seed {chosen.seed}"))
        reporter.say(f"The table is in {out / CSV} and {out / MARKDOWN}")
    if failed:
        raise AblationError(f"{len(failed)} of {len(planned)} failed: {'; '.join(map(': '.join, failed.items()))}")
    return rows


def _changes(settings: Settings, options: Mapping[str, Any]) -> bool:
    defaults = {name: option.default for name, option in registry.models.options(settings.run.model).items()}
    now = defaults | settings.model
    return any(now[name] != value for name, value in options.items())


def _run(settings: Settings, place: Path, reporter: Reporter, *, overwrite: bool) -> None:
    if not overwrite and (place / folder.METRICS).is_file():
        reporter.say(f"{place} is finished already")
    elif not overwrite and (place / folder.SETTINGS).is_file():
        chosen = settings.run
        run.resume(place, reporter, device=chosen.device, root=chosen.root, plugins=chosen.plugins)
    else:
        run.start(settings, reporter, overwrite=overwrite)


def _check_folders(planned: Mapping[str, Settings]) -> None:
    """Refuse a table whose rows would be of different settings."""
    other = []
    for name, settings in planned.items():
        place = Path(settings.run.out or "")
        if (place / folder.SETTINGS).is_file() and _asked(folder.read_settings(place)) != _asked(settings):
            other.append(name)
    if other:
        raise ValueError(
            f"{place.parent} holds runs of other settings ({', '.join(other)}): give those that it began with, "
            "replace them by --overwrite, or choose another folder with --out"
        )


def _asked(settings: Settings) -> dict[str, Any]:
    packed = settings.to_dict()
    return packed | {"run": {key: value for key, value in packed["run"].items() if key not in _PLACE}}


def _row(name: str, place: Path) -> dict[str, Any]:
    metrics = read_json(place / folder.METRICS)
    auc, cost = metrics["test"]["auc"], metrics["cost"]
    return {
        "ablation": name,
        "auc": auc["value"],
        "auc_low": auc["low"],
        "auc_high": auc["high"],
        "parameters": cost["parameters"]["total"],
        "seconds": cost["seconds"],
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


_HEADER = ("ablation", "test AUC (95% interval)", "parameters", "seconds")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["auc"] is None:
        auc = "undefined"
    elif row["auc_low"] is None:
        auc = f"{row['auc']:.3f}"
    else:
        auc = f"{row['auc']:.3f} ({row['auc_low']:.3f} to {row['auc_high']:.3f})"
    return row["ablation"], auc, f"{row['parameters']:,}", f"{row['seconds']:.0f}"


def _markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [_HEADER, ("---", "---", "---:", "---:"), *map(_cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _table(rows: Sequence[Mapping[str, Any]], title: str) -> Any:
    need("rich", "bench")
    from rich.table import Table

    out = Table(title=title, title_justify="left")
    for name in _HEADER:
        out.add_column(name, justify="right" if name in _HEADER[2:] else "left")
    for row in rows:
        out.add_row(*_cells(row), style="bold" if row["ablation"] == FULL else None)
    return out
