"""Recipes: what differs from the defaults, one TOML file a dataset, each value with its source.

The tables ``[data]``, ``[train]`` and ``[model]`` hold for every model of the dataset; ``[models.NAME.train]`` and
``[models.NAME.model]`` add what is one method's own. Equal footing: the budget, the sampler, the augmentation and the
encoder belong to the dataset, so a method's own table does not set them, and the epoch is never chosen on the test set.
"""

import tomllib
from collections.abc import Container
from importlib.resources import files
from typing import Any

SHARED = {
    "train": {
        *("epochs", "batch_size", "sampler", "sampler_options", "augment", "modality_dropout", "normalise"),
        *("metric", "select_on", "threshold"),
    },
    "model": {"encoder", "weights"},
}
"""Keys that are the dataset's alone."""


def available() -> list[str]:
    """Datasets that have a recipe, sorted."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")
    )


def load(dataset: str, model: str, options: Container[str] | None = None) -> dict[str, dict[str, Any]]:
    """The recipe for one model on one dataset.

    Args:
        dataset: Registered name; a dataset without a recipe has an empty one.
        model: Registered name.
        options: What the model's builder takes. The shared ``[model]`` table speaks to all models at once, so what
            this one does not know (an encoder, for a model of the table alone) does not reach it. None: all does.

    Returns:
        ``{section: {key: value}}`` with the sections data, train and model, the method's own values merged in.
    """
    source = files(__name__) / f"{dataset}.toml"
    recipe = tomllib.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}
    return pick(recipe, model, options)


def pick(recipe: dict[str, Any], model: str, options: Container[str] | None = None) -> dict[str, dict[str, Any]]:
    """As :func:`load`, from the content of a recipe."""
    merged = {section: dict(recipe.get(section, {})) for section in ("data", "train", "model")}
    if options is not None:
        merged["model"] = {key: value for key, value in merged["model"].items() if key in options}
    for section, values in recipe.get("models", {}).get(model, {}).items():
        merged[section] |= values
    return merged
