import csv
import dataclasses
import io
from typing import Any

import pytest

from helpers import made_analyses
from mmfusion.comparison.analysis.results import Comparison, Method
from mmfusion.comparison.report import pages, tables
from mmfusion.comparison.report.chapters import settings
from mmfusion.comparison.report.chapters.chapter import Chapter


def method(label: str, lr: float, precision: str = "no", **changes: Any) -> Method:
    chosen = {
        "run": {"model": label, "dataset": "derm7pt", "precision": precision},
        "train": {"epochs": 8, "lr": lr, "schedule": "cosine", "clip_norm": 1.0, "sampler_options": {}},
        "data": {"size": 128},
        "model": {"dim": 16, **changes.pop("model", {})},
    }
    return dataclasses.replace(made_analyses.method(label, 0.8), settings=chosen, **changes)


def comparison() -> Comparison:
    methods = [
        method(
            "cfcml",
            0.01,
            "bf16",
            model={"sample_weight": 5.0, "tokenizer": {"name": "text", "encoder": "clip"}},
            changed={"run.precision": "bf16", "train.lr": 0.01, "sample_weight": 5.0},
        ),
        method("concat", 0.001),
        dataclasses.replace(method("gradient boosting", 0.5), is_row=True),
    ]
    return made_analyses.comparison(methods, shared={"data": {"size": 128}, "train": {"epochs": 8}})


def test_settings_are_listed_once() -> None:
    """Common ones, then each method's own, changed ones first; none of a reference row."""
    values = settings.part(Chapter.of(comparison(), 1, 0.95)).values
    assert values["shared"] == [("data.size", "128"), ("train.epochs", "8")]
    assert values["common"] == [
        ("train.schedule", "cosine"),
        ("train.clip_norm", "1.0"),
        ("train.sampler_options", "none"),
        ("model.dim", "16"),
    ]
    assert values["rest"] == [
        (
            "cfcml",
            "run.precision=bf16, train.lr=0.01, model.sample_weight=5.0",
            "model.tokenizer.name=text, model.tokenizer.encoder=clip",
        ),
        ("concat", "none", "run.precision=no, train.lr=0.001"),
    ]


def test_settings_csv_matches_report() -> None:
    text = tables.tables(made_analyses.analysis(comparison()), {})["settings.csv"]
    rows = [(row["method"], row["setting"], row["value"], row["changed"]) for row in csv.DictReader(io.StringIO(text))]
    assert rows == [
        ("", "data.size", "128", ""),
        ("", "train.epochs", "8", ""),
        ("", "train.schedule", "cosine", ""),
        ("", "train.clip_norm", "1.0", ""),
        ("", "train.sampler_options", "none", ""),
        ("", "model.dim", "16", ""),
        ("cfcml", "run.precision", "bf16", "1"),
        ("cfcml", "train.lr", "0.01", "1"),
        ("cfcml", "model.sample_weight", "5.0", "1"),
        ("cfcml", "model.tokenizer.name", "text", "0"),
        ("cfcml", "model.tokenizer.encoder", "clip", "0"),
        ("concat", "run.precision", "no", "0"),
        ("concat", "train.lr", "0.001", "0"),
    ]


@pytest.mark.slow
def test_empty_tables_are_omitted() -> None:
    _, markdown, _ = pages.render(made_analyses.bare(), {})
    text = markdown[markdown.index("### Data, settings, versions") : markdown.index("### Reporting checklists")]
    assert text.count("| --- |") == 1
    assert "All other settings" not in text
