"""Recipes: what differs from the defaults, one TOML file a dataset, each value with its source.

The tables ``[data]``, ``[train]`` and ``[model]`` hold for every model of the dataset; ``[models.NAME.train]`` and
``[models.NAME.model]`` add what is one method's own. Equal footing: the budget, the sampler, the augmentation and the
encoder belong to the dataset, so a method's own table may not set them.
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

_SECTIONS = ("data", "train", "model")


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

    Raises:
        ValueError: If the recipe breaks the rules above.
    """
    source = files(__name__) / f"{dataset}.toml"
    if not source.is_file():
        return {section: {} for section in _SECTIONS}
    return pick(tomllib.loads(source.read_text(encoding="utf-8")), dataset, model, options)


def pick(
    recipe: dict[str, Any], dataset: str, model: str, options: Container[str] | None = None
) -> dict[str, dict[str, Any]]:
    """As :func:`load`, from a recipe that was read already."""
    if unknown := set(recipe) - {*_SECTIONS, "models"}:
        raise ValueError(f"the recipe of {dataset!r} expects the tables {_SECTIONS} and models, got {sorted(unknown)}")
    for values in (recipe, *recipe.get("models", {}).values()):
        if "select_on" in values.get("train", {}):
            raise ValueError(
                f"the recipe of {dataset!r} sets train.select_on: choosing on the test set must be asked for by name"
            )
    merged = {section: dict(recipe.get(section, {})) for section in _SECTIONS}
    if options is not None:
        merged["model"] = {key: value for key, value in merged["model"].items() if key in options}
    for section, values in recipe.get("models", {}).get(model, {}).items():
        if section not in SHARED:
            raise ValueError(f"[models.{model}] of the recipe of {dataset!r} expects train or model, got {section!r}")
        if taken := SHARED[section] & set(values):
            raise ValueError(
                f"[models.{model}.{section}] of the recipe of {dataset!r} sets {sorted(taken)}, which all models of a "
                f"comparison share: set it in [{section}]"
            )
        merged[section] |= values
    return merged
