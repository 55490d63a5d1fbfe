"""A model card, written from a run: data, results with intervals, intended use, limits, license of the data."""

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmfusion.experiments import folder, run_report
from mmfusion.experiments.predictions import class_names
from mmfusion.experiments.predictor import Predictor
from mmfusion.experiments.settings import Settings
from mmfusion.models.selective import modalities_of
from mmfusion.packed import entries
from mmfusion.spec import Image
from mmfusion.training.result_files import read_json

_LICENSE = re.compile(r"licen[cs]e|passed on|citation|CC.BY", re.IGNORECASE)
_INTENDED = (
    "Research: to reproduce and compare results, and to be evaluated on further data. The run tested it on cases of "
    "the same source as its training cases, if at all. It is no medical device, and nothing here shows that it is safe "
    "or useful for decisions about patients."
)
_LIMITS = (
    "The figures hold for cases like those of the test set. At another hospital, with other devices or another share "
    "of each class, evaluate it first: `mmfusion evaluate RUN --table other.csv`.",
    "It never says that a case is none of its classes: every case gets one of them.",
    "A number far outside the training range counts as missing or as the nearer limit, a category that no training "
    "case had as missing or as the rare one.",
)


def card(place: Path, settings: Settings, predictor: Predictor, *, use: str, license_of_data: str = "") -> str:
    """The card as Markdown.

    Args:
        place: The run's folder; its results are in the card if it has them.
        settings: Of the run.
        predictor: Of the run.
        use: How the folder beside the card is used: lines of Markdown.
        license_of_data: License of the training data; empty: what the run's notes say of it.

    Raises:
        ValueError: If the run's ``metrics.json`` is damaged.
    """
    path = place / folder.METRICS
    metrics: Mapping[str, Any] = entries(read_json(path), str(path)) if path.is_file() else {}
    try:
        return _card(metrics, settings, predictor, use, license_of_data)
    # What a value of another type, or none, raises where it is written out.
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if not metrics:
            raise
        raise ValueError(f"{path} is not what a run writes: {type(error).__name__} {error!s:.200}") from error


def _card(metrics: Mapping[str, Any], settings: Settings, predictor: Predictor, use: str, license_of_data: str) -> str:
    notes = [str(note) for note in metrics.get("notes", ())]
    classes = class_names(predictor.kind)
    parameters = sum(p.numel() for p in predictor.model.parameters())
    sections = {
        f"{settings.run.model} on {settings.run.dataset}": [
            f"A model of [mmfusion](https://pypi.org/project/mmfusion/) {version('mmfusion')} that predicts "
            f"{predictor.target!r}, one of {len(classes)} classes ({', '.join(classes)}), from "
            f"{' and '.join(modalities_of(predictor.model, predictor.spec))}. It has {parameters:,} parameters."
        ],
        "Use": [use],
        "Intended use": [_INTENDED],
        "Data": _data(settings, predictor, metrics),
        "Results": _results(metrics),
        "Limits": [f"- {text}" for text in (*_LIMITS, *(n for n in notes if not _LICENSE.search(n)))],
        "License of the data": _license(license_of_data, notes),
    }
    front = "---\nlibrary_name: mmfusion\ntags: [multimodal, tabular, image-classification]\n---\n\n"
    titles = [f"{'##' if i else '#'} {title}" for i, title in enumerate(sections)]
    bodies = ["\n".join(lines) for lines in sections.values()]
    return front + "\n\n".join(f"{title}\n\n{body}" for title, body in zip(titles, bodies, strict=True)) + "\n"


def _data(settings: Settings, predictor: Predictor, metrics: Mapping[str, Any]) -> list[str]:
    lines = [f"Dataset `{settings.run.dataset}`."]
    if cases := metrics.get("cases"):
        groups = metrics.get("groups", {})
        counts = [
            f"{n} for {part}" + (f" in {groups[part]} groups" if part in groups else "") for part, n in cases.items()
        ]
        lines[0] += f" Cases: {', '.join(counts)}."
    lines.append("")
    for name in modalities_of(predictor.model, predictor.spec):
        modality = predictor.spec[name]
        if isinstance(modality, Image):
            size = " x ".join(map(str, modality.size))
            several = f", up to {modality.bag} per case" if modality.bag > 1 else ""
            lines.append(f"- `{name}`: images of {size} with {modality.channels} channel(s){several}")
        else:
            numbers, categories = ", ".join(modality.numerical), ", ".join(column for column, _ in modality.categorical)
            lines.append(f"- `{name}`: numbers {numbers or 'none'}; categories {categories or 'none'}")
    return lines


def _results(metrics: Mapping[str, Any]) -> list[str]:
    if not metrics:
        return ["The folder has no results: the run is not finished, or it was shared without them."]
    rows = run_report.frame(metrics)
    header = ["metric", *(str(column).replace("\n", ", ") for column in rows.columns)]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    lines += [f"| {' | '.join([str(name), *map(str, row)])} |" for name, row in zip(rows.index, rows.to_numpy())]
    said = [text for text in run_report.sentences(metrics) if text not in metrics["notes"]]
    return [*lines, "", "In brackets 95% intervals for other test cases; another training run differs, too.", *said]


def _license(given: str, notes: list[str]) -> list[str]:
    stated = [given] if given else [note for note in notes if _LICENSE.search(note)]
    return stated or [
        "The run does not state it. State it before the model is passed on (`--data-license`): weights that were "
        "trained on data may fall under the terms of the data."
    ]
