"""Training of one model, from Python."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mmfusion.api.trained_run import Run
from mmfusion.experiments import console, run
from mmfusion.experiments.argument_names import SHORT, named
from mmfusion.experiments.chosen_data import Data, data_of
from mmfusion.experiments.settings import Settings, check_sections, merge, resolve
from mmfusion.models import Blueprint, FusionModel
from mmfusion.models.own_module import SUFFIX
from mmfusion.option_checks import checked
from mmfusion.training.callbacks import Callback, Calls, Entry
from mmfusion.training.reporter import Reporter

Model = str | Path | Blueprint | nn.Module
"""A registered name, a blueprint's ``.toml`` file, a blueprint, or a module of one's own."""


@named
@checked
def fit(
    model: Model | None = None,
    data: Data | str | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    modality_dropout: float | None = None,
    encoder: str | None = None,
    weights: str | Path | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: str | Path | None = None,
    root: str | Path | None = None,
    plugins: Sequence[str | Path] | None = None,
    settings: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback | Callable[[Entry], object]] = (),
    verbose: bool | Reporter = True,
) -> Run:
    """Train and evaluate a model, or continue an interrupted run.

    Args:
        model: A registered name, a blueprint's ``.toml`` file, a blueprint, or an ``nn.Module``: see
            :class:`~mmfusion.models.own_module.OwnModule`. A module is copied: yours is not trained.
        data: From :func:`~mmfusion.read_table` or :func:`~mmfusion.load_dataset`; or the name of a generated dataset.
        epochs: Passes over the training set.
        batch_size: Cases a step.
        modality_dropout: Probability of hiding a modality of a case in training.
        encoder: Image encoder: a registered backbone, or a model of timm's.
        weights: Of the encoder: ``none``, ``pretrained``, ``bundled`` or a file.
        seed: Of everything random; 0 where it is left out.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``no`` (float32), ``tf32``, ``bf16`` or ``fp16``.
        out: Folder of the run; None: ``runs/<dataset>/<model>/seed<seed>``.
        overwrite: Replace a former run in that folder.
        resume: Folder of a run to continue with its own settings: give neither ``data`` nor settings. A finished run is
            only read. Of a module of your own, give ``model``, too.
        root: With ``resume``: where the dataset is now.
        plugins: Python files that register more parts.
        settings: Any other settings, ``{"train.lr": 3e-4}`` or ``{"train": {"lr": 3e-4}}``, of the sections ``run``,
            ``train``, ``data`` and ``model``; the arguments above go before them.
        callbacks: Called as the training goes on: functions of an epoch's entry, or a
            :class:`~mmfusion.training.callbacks.Callback` such as :class:`~mmfusion.TensorBoardLogger`.
        verbose: True to show progress and results, False for silence, or a reporter of your own.

    Returns:
        The run; its folder has everything.

    Raises:
        ValueError: If a setting, the data or the model is wrong, or another process works on the folder; likewise
            FileNotFoundError, FileExistsError.
        mmfusion.training.loss_log.NonFiniteLoss: If the training diverges.
        mmfusion.experiments.run.Interrupted: If the user stops it; it says how to continue.
    """
    reporter, calls = console.reporter_of(verbose), Calls(callbacks)
    module = model if isinstance(model, nn.Module) else None
    arguments: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "modality_dropout": modality_dropout,
        "encoder": encoder,
        "weights": None if weights is None else str(weights),
        "seed": seed,
        "device": device,
        "precision": precision,
        "out": None if out is None else str(out),
    }
    if resume is not None:
        _check_resumed(resume, arguments, model=model, data=data, settings=settings, overwrite=overwrite)
        place = Path(resume)
        run.resume(
            place,
            reporter,
            device=device,
            root=None if root is None else str(root),
            plugins=plugins,
            module=module,
            calls=calls,
        )
        return Run(place, device or "auto", plugins=plugins, model=module)
    if model is None or data is None:
        raise ValueError("fit expects a model and data, or resume='FOLDER' to continue a run")
    if root is not None:
        raise ValueError("root is given with the data: read_table(..., root=...), load_dataset(..., root=...)")
    resolved = settings_of(model, data, arguments, plugins, settings)
    result = run.start(resolved, reporter, overwrite=overwrite, module=module, calls=calls)
    return Run(result.folder, resolved.run.device, plugins=plugins, model=module)


def settings_of(
    model: Model,
    data: Data | str,
    arguments: Mapping[str, Any],
    plugins: Sequence[str | Path] | None,
    settings: Mapping[str, Any] | None,
) -> Settings:
    """The complete settings of a run.

    Args:
        model: As for :func:`fit`.
        data: As for :func:`fit`.
        arguments: Those that are short for a setting; one that is None is left out.
        plugins: As for :func:`fit`.
        settings: As for :func:`fit`.

    Raises:
        ValueError: If one is wrong.
    """
    data = data_of(data)
    layers = [data.settings, nested(settings or {}), short(arguments, plugins)]
    if not isinstance(model, nn.Module):
        return resolve(model, data.name, layers)
    if isinstance(model, FusionModel) and model.blueprint:
        return resolve(model.blueprint, data.name, layers)
    return resolve(type(model).__name__ + SUFFIX, data.name, layers)


def short(arguments: Mapping[str, Any], plugins: Sequence[str | Path] | None) -> dict[str, Any]:
    """Arguments as the settings that they are short for, without those that are None."""
    layer: dict[str, Any] = {"run": {"plugins": [str(path) for path in plugins]}} if plugins else {}
    for name, value in arguments.items():
        if value is not None:
            section, key = SHORT[name]
            layer = merge(layer, {section: {key: value}})
    return layer


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``{"train.lr": 1}`` as ``{"train": {"lr": 1}}``; what is nested already stays.

    Raises:
        ValueError: If a key is not a text, or a section has no keys.
    """
    layer: dict[str, Any] = {}
    for name, value in settings.items():
        if not isinstance(name, str):
            raise ValueError(f"settings expects names as section.key, got {name!r}")
        for key in reversed(name.split(".")):
            value = {key: value}
        check_sections(value)
        layer = merge(layer, value)
    return layer


def _check_resumed(resume: str | Path, arguments: Mapping[str, Any], **others: Any) -> None:
    """Raise an error if something is given that a resumed run has already."""
    given = [name for name, value in arguments.items() if value is not None and name != "device"]
    given += [
        name for name, value in others.items() if value and not (name == "model" and isinstance(value, nn.Module))
    ]
    if given:
        raise ValueError(f"resume={str(resume)!r} goes on with the settings there; leave out {', '.join(given)}")
