"""The modality gap of a run: embeddings of its cases before and after training, compared."""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from torch import nn

from mmfusion.experiments.modality_gap import gap_page, gap_picture
from mmfusion.experiments.modality_gap.embedding_sets import all_sets, sets_of
from mmfusion.experiments.modality_gap.gap_cases import gap_cases
from mmfusion.experiments.modality_gap.gap_panels import Panel, panels_of
from mmfusion.experiments.modality_gap.initial_weights import initial_model
from mmfusion.experiments.modality_gap.projections import Neighbors, chosen
from mmfusion.experiments.predictor import Predictor
from mmfusion.metrics.modality_gap import ALPHA, GapNumber, T, gap_differences, gap_numbers
from mmfusion.training.result_files import write_bytes, write_text

BEFORE, AFTER = "before training", "after training"
N_CASES, N_RESAMPLES = 500, 1000
PICTURE, PAGE, NUMBERS = "gap.png", "gap.html", "gap.csv"
"""Names of the files."""


@dataclass(frozen=True)
class ModalityGap:
    """Where a model puts the modalities of its cases. In a notebook it shows its page.

    Attributes:
        numbers: One row per ``when`` (before or after training, or the change), ``measure``, and ``of`` and ``to``, two
            modalities, or one set and an empty text: ``value``, ``low`` and ``high``, a 95 % interval for other cases,
            and ``cases``; see :mod:`mmfusion.metrics.modality_gap`.
        panels: What is drawn, by ``when``.
        classes: Names of the classes; empty if no case has a label.
        about: A sentence on the cases.
        title: Of the page.
    """

    numbers: pd.DataFrame
    panels: Mapping[str, list[Panel]]
    classes: tuple[str, ...]
    about: str
    title: str

    @functools.cached_property
    def png(self) -> bytes:
        """All pictures as one PNG file: a row for each state of the model, a column for each projection."""
        return gap_picture.overview(self.panels, self.classes)

    @functools.cached_property
    def html(self) -> str:
        """A fragment of HTML that needs nothing else: pictures, and the numbers with their intervals."""
        return gap_page.fragment(
            self.panels, self.numbers, self.classes, self.title, self.about, {"alpha": ALPHA, "t": T}
        )

    def write(self, out: str | Path) -> list[Path]:
        """Write ``gap.png``, ``gap.html`` and ``gap.csv``.

        Args:
            out: A folder; made if it does not exist, and files of these names are replaced.

        Returns:
            The files.

        Raises:
            mmfusion.training.result_files.WriteError: If a file cannot be written.
        """
        out = Path(out)
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(out / PICTURE, self.png)
        head = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        )
        write_text(out / PAGE, f"{head}<title>Modality gap</title>\n{self.html}\n</html>\n")
        write_text(out / NUMBERS, self.numbers.to_csv(index=False, lineterminator="\n"))
        return [out / name for name in (PICTURE, PAGE, NUMBERS)]

    def _repr_html_(self) -> str:
        return self.html


def modality_gap(
    predictor: Predictor,
    place: Path,
    table: pd.DataFrame | str | Path | None = None,
    image_root: str | Path | None = None,
    missing_images: Literal["error", "absent"] = "error",
    *,
    before: bool = True,
    neighbors: Neighbors = "auto",
    n_cases: int = N_CASES,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    module: nn.Module | None = None,
) -> ModalityGap:
    """See :meth:`mmfusion.Run.modality_gap <mmfusion.api.trained_run.Run.modality_gap>`.

    Args:
        predictor: Of the run.
        place: Its folder.
        table: As there.
        image_root: As there.
        missing_images: As there.
        before: As there.
        neighbors: As there.
        n_cases: As there.
        n_resamples: As there.
        seed: As there.
        module: The module of one's own that the run began with.

    Raises:
        ValueError: As there.
        FileNotFoundError: As there.
        ImportError: As there.
    """
    projections = chosen(neighbors)
    if n_cases < 2 or n_resamples < 0:
        raise ValueError(f"n_cases expects at least 2 and n_resamples at least 0, got {n_cases} and {n_resamples}")
    models: dict[str, nn.Module] = {}
    if before:
        models[BEFORE] = initial_model(place, predictor.spec, predictor.model, module)
    models[AFTER] = predictor.model
    cases = gap_cases(predictor, place, table, image_root, missing_images, n_cases=n_cases, seed=seed)
    states = {
        when: sets_of(model, cases.dataset, predictor.batch_size, predictor.device) for when, model in models.items()
    }
    after = states[AFTER]
    pairs = [
        (a, b)
        for a, b in itertools.combinations(after.modalities, 2)
        if after.modalities[a].shape[1] == after.modalities[b].shape[1]
    ]
    labels = cases.labels if cases.has_labels else None
    options: dict[str, Any] = {"pairs": pairs, "n_resamples": n_resamples, "seed": seed}
    found = {when: gap_numbers(all_sets(s), labels, s.present, cases.groups, **options) for when, s in states.items()}
    if before:
        both = all_sets(states[BEFORE]), all_sets(after)
        found[gap_page.CHANGE] = gap_differences(*both, labels, after.present, cases.groups, **options)
    n = len(cases.labels)
    of = f"{n} cases" if n == cases.n_all else f"{n} cases, drawn at random, of the {cases.n_all}"
    return ModalityGap(
        pd.concat([_frame(when, numbers) for when, numbers in found.items()], ignore_index=True),
        {when: panels_of(s, cases.labels, len(cases.classes), projections, seed) for when, s in states.items()},
        cases.classes if cases.has_labels else (),
        f"{of} of {cases.name}. Each picture is one projection of all that it shows; PCA has one scale in all states.",
        f"Modality gap of {place.resolve().name}",
    )


def _frame(when: str, numbers: list[GapNumber]) -> pd.DataFrame:
    rows = [
        (when, one.measure, one.of[0], "".join(one.of[1:]), one.value, one.low, one.high, one.n_cases)
        for one in numbers
    ]
    return pd.DataFrame(rows, columns=["when", "measure", "of", "to", "value", "low", "high", "cases"])
