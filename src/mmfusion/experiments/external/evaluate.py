"""Evaluation of a run on another table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from mmfusion.data.images.sources import find_images, named_columns
from mmfusion.data.schema.cells import texts
from mmfusion.data.schema.subgroups import Subgroup, by_columns
from mmfusion.data.schema.table_file import read_table
from mmfusion.experiments import ensemble, held_out_cases
from mmfusion.experiments.ensemble import Ensemble
from mmfusion.experiments.external.alignment import align, lenient
from mmfusion.experiments.external.results import ExternalEvaluation
from mmfusion.experiments.external.scores import (
    LabelledCases,
    Scores,
    SubgroupScores,
    score,
    score_subgroups,
)
from mmfusion.experiments.external.true_labels import TrueLabels, read_labels
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predicted_table import tabulate
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor
from mmfusion.metrics.bootstrap import N_RESAMPLES

TRUE = "true"
"""Column of the cases with the class of each."""
_SHOWN = 10


def evaluate(
    runs: str | Path | Sequence[str | Path],
    table: pd.DataFrame | str | Path,
    *,
    image_root: str | Path | None = None,
    missing_images: Literal["error", "absent"] = "error",
    label: str | None = None,
    group: str | None = None,
    rename: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    subgroups: Sequence[str] = (),
    device: str = "auto",
    plugins: Sequence[str | Path] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> ExternalEvaluation:
    """Predict the cases of a table and judge the predictions by its labels, at the run's threshold and temperature.

    Nothing is fitted on the table. What it lacks of the run's classes, levels and columns, and what it has beyond them,
    is defined and noted:

    - Headings that differ from the run's in case, blanks, hyphens or underscores alone are taken for them.
    - A column that the table lacks is missing in all cases; cells that are not what their column holds are missing.
    - A level that no training case had counts as in training: as missing, or as ``rare``.
    - A row without a label, or with one that is no class of the run, is predicted and in no metric.
    - A metric for which the cases lack a class is undefined.

    Args:
        runs: Folder of a finished run, or of several whose mean predicts.
        table: One row per case, or its file.
        image_root: The folder that the image names are relative to; None: that of the table's file, or the working
            folder.
        missing_images: What a missing image file, or an empty cell in its column, means: an error, or that the case
            lacks the image. A column of images that the table lacks altogether is absent in all cases.
        label: The table's column of labels; None: that of the run, without which there are no metrics.
        group: The table's column of patients or lesions; None: that of the run.
        rename: The run's heading by the table's.
        aliases: Other spellings of classes, with the run's class.
        subgroups: The run's columns, or others of the table, for metrics of subgroups; many different numbers are
            divided into thirds of the table.
        device: ``auto``, ``cpu`` or ``cuda``.
        plugins: As for :func:`mmfusion.experiments.predictor.load`.
        n_resamples: Of the bootstrap intervals; 0: none.
        seed: Of the bootstrap.

    Returns:
        The evaluation.

    Raises:
        ValueError: If the table has no rows, or none of the columns that the model reads; if a named column is not
            there, a name is no class, or an image cannot be decoded.
        FileNotFoundError: If a folder does not hold a run, or a file does not exist.
    """
    places = [Path(runs)] if isinstance(runs, str | Path) else [Path(place) for place in runs]
    loaded = ensemble.load(places, device, plugins=plugins)
    members = [lenient(one, group) for one in (loaded.members if isinstance(loaded, Ensemble) else (loaded,))]
    reader, kind = members[0].reader, members[0].kind
    locked, classes = loaded.locked or Locked(finished=False), class_names(members[0].kind)
    name = "table" if isinstance(table, pd.DataFrame) else Path(table).name
    if image_root is None and not isinstance(table, pd.DataFrame):
        image_root = Path(table).parent
    frame = table if isinstance(table, pd.DataFrame) else read_table(table)
    aligned = align(frame, members, label=label, group=group, rename=rename)
    frame, labels = aligned.frame, None
    if aligned.labelled:
        labels = read_labels(frame, reader.targets[members[0].target], aliases)
    properties = by_columns(subgroups, frame, frame)
    if missing_images == "error":
        _check_images(members, frame, image_root)
    datasets = ensemble.read(members, frame, image_root, "absent")
    outputs = ensemble.mean_outputs(members, datasets, frame, "absent")
    said: list[str] = []
    cases = tabulate(outputs, frame, reader, kind, locked, said.append)
    cases[_free(TRUE, cases)] = [None] * len(frame) if labels is None else labels.names
    absent = dict.fromkeys(name for one in members for name in one.absent(frame, "absent"))
    whole = [f"All cases lack {modality!r}: the table has none of its columns." for modality in absent]
    scores: Scores | None = None
    of_subgroups: tuple[SubgroupScores, ...] = ()
    if labels is not None and len(labels.rows):
        judged = LabelledCases(labels.codes, tuple(datasets[0].groups), outputs.probabilities).take(labels.rows)
        scores = score(judged, locked, classes, n_resamples=n_resamples, seed=seed)
        if not scores.not_finite:
            values = _values(properties, frame, labels)
            of_subgroups = score_subgroups(judged, values, locked, classes, n_resamples=n_resamples, seed=seed)
    internal = _internal(places, locked, classes, n_resamples, seed)
    notes = [*aligned.notes, *whole, *_levels(members, frame), *map(_sentence, said)]
    if internal is None:
        notes.append("The run's own test set is not shown: its folder has no predictions of it, as a shared one.")
    return ExternalEvaluation(
        tuple(map(str, places)),
        name,
        tuple(classes),
        locked,
        cases,
        labels,
        scores,
        internal,
        of_subgroups,
        tuple(dict.fromkeys(notes)),
    )


def _check_images(members: Sequence[Predictor], frame: pd.DataFrame, root: str | Path | None) -> None:
    """Raise an error if a file that the table names does not exist."""
    sources = {
        name: source
        for member in members
        for name, source in member.reader.images.items()
        if name in member.seen and set(named_columns(source.column)) <= set(frame.columns)
    }
    absent = find_images(sources, frame, root).absent if sources else []
    if absent:
        more = f"; and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        raise FileNotFoundError(
            f"{len(absent)} images are missing in {root or Path()}: {'; '.join(absent[:_SHOWN])}{more}. Give the "
            "folder that the names are relative to by image_root=..., or evaluate without these images by "
            "missing_images='absent'"
        )


def _levels(members: Sequence[Predictor], frame: pd.DataFrame) -> list[str]:
    """Notes on levels that the training cases or the table lack."""
    notes = []
    schema = members[0].reader.schema
    read = schema is not None and any(one.reader.table_name in one.seen for one in members)
    for column in schema.categorical if schema is not None and read else ():
        if column.source not in frame.columns:
            continue
        counts = Counter(text for text in texts(frame, column.source) if text is not None)
        if not counts:
            continue
        codes = column.encode(frame)
        if unseen := column.unseen(frame):
            fate = f"count as {column.categories[-1]!r}" if column.rare else "count as missing"
            listed = ", ".join(f"{level!r} ({counts[level]}x)" for level in unseen[:_SHOWN])
            more = f" and {len(unseen) - _SHOWN} more" if len(unseen) > _SHOWN else ""
            notes.append(f"Column {column.name!r} has levels that no training case had, which {fate}: {listed}{more}.")
        named = column.categories[:-1] if column.rare else column.categories
        if lacking := [level for code, level in enumerate(named) if not (codes == code).any()]:
            notes.append(f"Column {column.name!r} has no row of the level {', '.join(map(repr, lacking[:_SHOWN]))}.")
    return notes


def _values(properties: Sequence[Subgroup], frame: pd.DataFrame, labels: TrueLabels) -> dict[str, list[str]]:
    """By property, the subgroup of each labelled row."""
    every = {one.name: one.of(frame) for one in properties}
    return {name: [values[row] for row in labels.rows.tolist()] for name, values in every.items()}


def _internal(
    places: Sequence[Path], locked: Locked, classes: Sequence[str], n_resamples: int, seed: int
) -> Scores | None:
    """The same metrics on the run's own test set; None where its predictions are not known."""
    held_out = [held_out_cases.read(place) for place in places if place.is_dir()]
    if len(held_out) < len(places) or any(one is None or one.classes != tuple(classes) for one in held_out):
        return None
    test = held_out_cases.mean([one.parts.get("test") for one in held_out if one is not None])
    if test is None:
        return None
    cases = LabelledCases(test.labels, tuple(test.groups.tolist()), test.probabilities)
    return score(cases, locked, classes, n_resamples=n_resamples, seed=seed)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def _free(name: str, frame: pd.DataFrame) -> str:
    while name in frame.columns:
        name += "_"
    return name
