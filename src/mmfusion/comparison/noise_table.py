"""Table of a sweep's repeats: numerical noise of each method."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmfusion.comparison.numerical_noise import Noise, noise
from mmfusion.comparison.sweep import Outcome
from mmfusion.experiments.rich_table import rich_table
from mmfusion.experiments.spreadsheet import write_rows
from mmfusion.training.result_files import write_text

CSV = "repeats.csv"
CAPTION = (
    "Standard deviation of the AUC over starts that differ by rounding alone, pooled over seeds, and over the seeds' "
    "own starts."
)
_HEADER = ("method", "starts", "seeds", "validation, starts", "validation, seeds", "test, starts", "test, seeds")


def rows(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], Noise]:
    """Numerical noise by dataset and method; methods without repeats are left out, and so are failed runs and the
    repeats of a seed whose own run failed.
    """
    aucs: dict[tuple[str, str], dict[tuple[int, int], list[tuple[float, float]]]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: outcome.planned.settings.run.repeat):
        settings, metrics = outcome.planned.settings, outcome.metrics
        if metrics is None:
            continue
        place = int(settings.data.get("fold", 0)), settings.run.seed
        of_method = aucs.setdefault((settings.run.dataset, outcome.planned.label), {})
        pair = _auc(metrics, "validation"), _auc(metrics, "test")
        if settings.run.repeat == 0:
            of_method[place] = [pair]
        elif place in of_method:
            of_method[place].append(pair)
    return {key: found for key, of_method in aucs.items() if (found := noise(of_method)) is not None}


def _auc(metrics: Mapping[str, Any], part: str) -> float:
    value = metrics.get(part, {}).get("auc", {}).get("value")
    return math.nan if value is None else float(value)


def write(found: Mapping[tuple[str, str], Noise], out: Path) -> Path:
    """``repeats.csv`` into a folder."""
    cells: list[tuple[object, ...]] = [
        (
            *("dataset", "method", "starts", "seeds"),
            *(f"{part}_auc_{what}" for part in ("validation", "test") for what in ("mean", "sd_starts", "sd_seeds")),
        )
    ]
    for (dataset, method), one in found.items():
        of_parts = (value for part in (one.validation, one.test) for value in (part.mean, part.within, part.over))
        cells.append((dataset, method, one.starts, one.seeds, *of_parts))
    write_text(out / CSV, write_rows(cells))
    return out / CSV


def table(found: Mapping[tuple[str, str], Noise], dataset: str) -> Any:
    """Table of one dataset, for rich."""
    lines = [
        (
            *(method, str(one.starts), str(one.seeds)),
            *(_number(value) for part in (one.validation, one.test) for value in (part.within, part.over)),
        )
        for (of, method), one in found.items()
        if of == dataset
    ]
    return rich_table(f"Numerical noise on {dataset}", _HEADER, lines, caption=CAPTION)


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else ""
