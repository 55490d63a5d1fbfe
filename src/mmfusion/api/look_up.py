"""What a user looks up before a run: a model's blueprint, and what could be wrong with a dataset."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmfusion.data.datasets import check as dataset_check
from mmfusion.data.datasets.check import Report
from mmfusion.experiments import chosen_data, console, trust
from mmfusion.experiments.argument_names import named
from mmfusion.experiments.settings import DEFAULT_DATASET, resolve
from mmfusion.models import Blueprint, blueprint_of
from mmfusion.models.registration import is_file
from mmfusion.option_checks import checked
from mmfusion.training.reporter import Reporter


@named
@checked
def blueprint(
    model: str | Path,
    dataset: str | None = None,
    *,
    plugins: Sequence[str | Path] | None = None,
    **options: Any,
) -> Blueprint:
    """A model's blueprint, to print, edit and fit: ``mmf.blueprint("gmu").to_toml()``.

    Args:
        model: A registered name, or a blueprint's ``.toml`` file.
        dataset: With the options of this dataset's recipe; None: the model's defaults.
        plugins: Python files that register more parts.
        options: Of the model.

    Raises:
        ValueError: If a name or an option is unknown, or the model has no blueprint.
    """
    trust.run_given(plugins or ())
    resolved = resolve(model, DEFAULT_DATASET if dataset is None else dataset, [{"model": options}])
    chosen: Mapping[str, Any] = resolved.model
    if dataset is None:
        chosen = {key: value for key, value in chosen.items() if key in options}
    own = {key: value for key, value in chosen.items() if key != "blueprint"}
    return blueprint_of(model if is_file(model) else resolved.run.model, **own)


@named
@checked
def check(
    name: str,
    root: str | Path | None = None,
    *,
    fast: bool = False,
    plugins: Sequence[str | Path] | None = None,
    verbose: bool | Reporter = True,
    **options: Any,
) -> Report:
    """Check a dataset or a table of one's own: damaged files, leaks, duplicates, odd cells.

    Args:
        name: A registered dataset of files; ``table`` for one's own, with ``table=...``, ``target=...`` and the others
            of :func:`~mmfusion.read_table`.
        root: Its folder.
        fast: Read only the headers of images, not their pixels.
        plugins: Python files that register more datasets.
        verbose: Whether progress is shown.
        options: Of the dataset.

    Returns:
        Counts, faults and warnings; ``print`` shows them.

    Raises:
        ValueError: If the dataset or an option is unknown, or the dataset reads no files.
    """
    trust.run_given(plugins or ())
    if "target" in options:
        options["label"] = options.pop("target")
    if isinstance(options.get("table"), pd.DataFrame):
        options["table"] = chosen_data.written(options["table"])
    with console.reporter_of(verbose).bar("reading images", None) as bar:
        return dataset_check.check(
            name,
            None if root is None else Path(root),
            fast=fast,
            progress=bar.at,
            **chosen_data.with_recipe(name, options),
        )
