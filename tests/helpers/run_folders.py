"""Run folders without a run: predictions drawn from a seed, and the files that would stand beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmfusion.comparison.collect import collect
from mmfusion.experiments.settings import Settings, merge, resolve

DATASET = "synthetic_derm7pt"


def probabilities(labels: np.ndarray, k: int, strength: float, seed: int, noise: int = 0) -> np.ndarray:
    """Of a model that knows the class so well; the cases' own part of the noise is shared by all models."""
    shared, own = np.random.default_rng(noise), np.random.default_rng([seed, 1])
    logits = shared.normal(size=(len(labels), k)) + 0.3 * own.normal(size=(len(labels), k))
    logits[np.arange(len(labels)), labels] += strength
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


def predictions(
    *,
    strength: float = 1.5,
    seed: int = 0,
    fold: int = 0,
    names: Sequence[str] = ("nevus", "melanoma"),
    n: int = 60,
    per_group: int = 1,
    parts: Sequence[str] = ("validation", "test"),
) -> pd.DataFrame:
    """As a run writes them: the cases depend on the fold alone."""
    frames = []
    for part in parts:
        y = np.repeat(np.arange(n // per_group) % (len(names) + 1) % len(names), per_group)
        p = probabilities(y, len(names), strength, seed, noise=100 * fold + (part == "test"))
        start = f"{part[0]}{fold}-"
        frames.append(
            pd.DataFrame(
                {
                    "id": [f"{start}{i:03d}" for i in range(len(y))],
                    "group": [f"{start}g{i // per_group:03d}" for i in range(len(y))],
                    "part": part,
                    "label": np.array(names, dtype=object)[y],
                    "fold": fold,
                    "seed": seed,
                }
                | {f"prob_{name}": p[:, c] for c, name in enumerate(names)}
            )
        )
    return pd.concat(frames, ignore_index=True)


def settings(model: str = "concat", *, seed: int = 0, overrides: Mapping[str, Any] | None = None) -> Settings:
    return resolve(model, DATASET, [merge({"run": {"seed": seed}}, overrides or {})])


def write(
    place: Path,
    model: str = "concat",
    *,
    seed: int = 0,
    fold: int = 0,
    overrides: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    frame: pd.DataFrame | None = None,
    files: Mapping[str, Any] | None = None,
    row: bool = False,
    **options: Any,
) -> Path:
    """A finished run's folder, with the three files that are enough and whatever else is given."""
    place.mkdir(parents=True)
    made = settings("concat" if row else model, seed=seed, overrides=overrides)
    made.run.model = model
    if fold:
        made.data["fold"] = fold
    packed = {"format": 1, **made.to_dict()}
    (place / "settings.json").write_text(json.dumps(packed))
    found = predictions(seed=seed, fold=fold, **options) if frame is None else frame
    found.to_csv(place / "predictions.csv", index=False)
    said = {"format": 1, "model": model, "notes": [], "ceilings": {}, "cost": {}, **(metrics or {})}
    if row:
        said["reference_row"] = "scikit-learn"
    (place / "metrics.json").write_text(json.dumps(said))
    for name, content in (files or {}).items():
        text = content if isinstance(content, str) else json.dumps(content)
        (place / name).write_text(text)
    return place


def reasons(path: Path) -> dict[str, str]:
    """Why folders below a path are left out, by their names."""
    return {one.folder.name: one.reason for one in collect([path]).skipped}


def changed(column: str, value: object) -> pd.DataFrame:
    """Predictions of twelve cases with another value in one of them."""
    frame = predictions(n=6).astype({column: object})
    frame.loc[7, column] = value
    return frame
