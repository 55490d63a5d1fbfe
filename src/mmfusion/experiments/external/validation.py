"""Evaluation of a run on another table."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from mmfusion.data.images.sources import find_images, named_columns
from mmfusion.data.schema.cells import require_columns, texts
from mmfusion.data.schema.subgroups import by_columns
from mmfusion.experiments import ensemble, folder, held_out_cases
from mmfusion.experiments.ensemble import Ensemble
from mmfusion.experiments.external.alignment import align, lenient
from mmfusion.experiments.external.duplicates import duplicates, shared_names
from mmfusion.experiments.external.external_evaluation import ExternalEvaluation
from mmfusion.experiments.external.scores import (
    LabelledCases,
    Scores,
    SubgroupScores,
    score,
    score_subgroups,
)
from mmfusion.experiments.external.shift import shifts, summaries
from mmfusion.experiments.external.training_cases import TrainingCases, reach
from mmfusion.experiments.external.true_labels import TrueLabels, read_labels
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predicted_table import free_name, tabulate
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor, cases_of
from mmfusion.metrics.bootstrap import N_RESAMPLES
from mmfusion.training.reporter import Reporter

TRUE_LABEL = "true"
"""Column of the cases with the class of each."""
_SHOWN = 10


def evaluate(
    runs: str | Path | Sequence[str | Path],
    table: pd.DataFrame | str | Path,
    *,
    predictor: Predictor | Ensemble | None = None,
    image_root: str | Path | None = None,
    missing_images: Literal["error", "absent"] = "error",
    label: str | None = None,
    group: str | None = None,
    rename: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    subgroups: Sequence[str] | None = None,
    training: bool = True,
    training_root: str | Path | None = None,
    device: str = "auto",
    plugins: Sequence[str | Path] | None = None,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    reporter: Reporter | None = None,
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
        runs: Folder of a finished run, or of several whose mean predicts; or files of weights in them.
        table: One row per case, or its file.
        predictor: Of these runs, if it is loaded already; then ``device`` and ``plugins`` are not used.
        image_root: The folder that the image names are relative to; None: that of the table's file, or the working
            folder.
        missing_images: What a missing image file, or an empty cell in its column, means: an error, or that the case
            lacks the image. A column of images that the table lacks altogether is absent in all cases.
        label: The table's column of labels; None: that of the run, without which there are no metrics.
        group: The table's column of patients or lesions; None: that of the run.
        rename: The run's heading by the table's.
        aliases: Other spellings of classes, with the run's class.
        subgroups: The run's columns, or others of the table, for metrics of subgroups; many different numbers are
            divided into thirds of the training set, or of the table where the training set is not known. None: the
            properties of the run's dataset, if its cases can be read.
        training: Whether the run's own cases are read again, by its settings, to compare the table with them. A run's
            folder holds no row of them: where they cannot be read, or changed since, shifts are not tested and
            duplicates not looked for, and a sentence says why.
        training_root: Where the run's dataset is now, if it was moved.
        device: ``auto``, ``cpu`` or ``cuda``.
        plugins: As for :func:`mmfusion.experiments.predictor.load`.
        n_resamples: Of the bootstrap intervals; 0: none.
        seed: Of the bootstrap, the choice of one case per patient, and permutations.
        reporter: Receives the progress; None: silent.

    Returns:
        The evaluation.

    Raises:
        ValueError: If the table has no rows, or none of the columns that the model reads; if a named column is not
            there, a name is no class, or an image cannot be decoded.
        FileNotFoundError: If a folder does not hold a run, or a file does not exist.
    """
    places = [Path(runs)] if isinstance(runs, str | Path) else [Path(place) for place in runs]
    loaded = ensemble.load(places, device, plugins=plugins) if predictor is None else predictor
    members = [lenient(one, group) for one in (loaded.members if isinstance(loaded, Ensemble) else (loaded,))]
    first, locked = members[0], loaded.locked or Locked(finished=False)
    frame, root = cases_of(table, image_root)
    aligned = align(frame, members, label=label, group=group, rename=rename)
    frame, labels = aligned.frame, None
    if aligned.labelled:
        labels = read_labels(frame, first.reader.targets[first.target], aliases)
    require_columns(frame, subgroups or ())
    if missing_images == "error":
        _check_images(members, frame, root)
    datasets = ensemble.read(members, frame, root, "absent")
    outputs = ensemble.mean_outputs(members, datasets, frame, "absent")
    said: list[str] = []
    cases = tabulate(outputs, frame, first.reader, first.kind, locked, said.append)
    cases[free_name(TRUE_LABEL, f"{TRUE_LABEL}_", cases.columns)] = (
        [None] * len(frame) if labels is None else labels.names
    )
    absent = dict.fromkeys(name for one in members for name in one.absent(frame, "absent"))
    notes = [*aligned.notes, *(f"All cases lack {name!r}: the table has none of its columns." for name in absent)]
    notes += [*_levels(members, frame), *map(_sentence, said)]
    place = folder.home(places[0])
    own = reach(place, training_root, reporter) if training else "that was not asked for"
    similar, found = shared_names(place, first.reader, frame), summaries(first, datasets[0], seed=seed)
    if isinstance(own, TrainingCases):
        found, unlike = shifts(first, own, datasets[0], root, seed=seed)
        copies, unsure = duplicates(first, own, datasets[0])
        similar += copies
        notes += [*unlike, *unsure]
    judge = functools.partial(_judged, locked, class_names(first.kind), n_resamples, seed)
    scores: Scores | None = None
    judged: LabelledCases | None = None
    of_subgroups: tuple[SubgroupScores, ...] = ()
    if labels is not None and len(labels.rows):
        every = LabelledCases(labels.codes, tuple(datasets[0].groups), outputs.probabilities)
        judged = every.take(labels.rows)
        values = {name: _at(cells, labels) for name, cells in _subgroups(subgroups, own, frame).items()}
        scores, of_subgroups = judge(judged, values)
    test = _own_test(places, class_names(first.kind))
    if test is None:
        notes.append(
            "The run's own test set is not shown: its folder has no predictions of it, as a shared one, or "
            "a file of weights was given."
        )
    return ExternalEvaluation(
        tuple(map(str, places)),
        "table" if isinstance(table, pd.DataFrame) else Path(table).name,
        tuple(class_names(first.kind)),
        locked,
        cases,
        labels,
        scores,
        None if test is None else judge(test, {})[0],
        of_subgroups,
        found,
        tuple(similar),
        own if isinstance(own, str) else "",
        tuple(dict.fromkeys(notes)),
        judged,
        test,
    )


def _judged(
    locked: Locked,
    classes: Sequence[str],
    n_resamples: int,
    seed: int,
    cases: LabelledCases,
    values: Mapping[str, Sequence[str]],
) -> tuple[Scores, tuple[SubgroupScores, ...]]:
    scores = score(cases, locked, classes, n_resamples=n_resamples, seed=seed)
    if scores.not_finite:
        return scores, ()
    return scores, score_subgroups(cases, values, locked, classes, n_resamples=n_resamples, seed=seed)


def _subgroups(names: Sequence[str] | None, own: TrainingCases | str, frame: pd.DataFrame) -> dict[str, list[str]]:
    """By property, the subgroup of each row: of the named columns, or of the dataset's own properties."""
    train = own.train.frame if isinstance(own, TrainingCases) else frame
    if names is None:
        known = own.subgroups if isinstance(own, TrainingCases) else ()
        return {one.name: one.of(frame) for one in known if one.column in frame.columns}
    # Thirds are the training set's, where it is known and has the column.
    return {
        one.name: one.of(frame)
        for name in names
        for one in by_columns([name], frame, train if name in train.columns else frame)
    }


def _at(cells: Sequence[str], labels: TrueLabels) -> list[str]:
    return [cells[row] for row in labels.rows.tolist()]


def _own_test(places: Sequence[Path], classes: Sequence[str]) -> LabelledCases | None:
    """The runs' own test set with their mean probabilities; None where it is not known."""
    held_out = [held_out_cases.read(place) for place in places if place.is_dir()]
    if len(held_out) < len(places) or any(one is None or one.classes != tuple(classes) for one in held_out):
        return None
    test = held_out_cases.mean([one.parts.get("test") for one in held_out if one is not None])
    return None if test is None else LabelledCases(test.labels, tuple(test.groups.tolist()), test.probabilities)


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


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
