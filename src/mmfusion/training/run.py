"""A run, from settings to a folder of results; and its continuation after an interruption."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmfusion import registry
from mmfusion.backbones.base import Backbone
from mmfusion.data.cache import ImageCache
from mmfusion.data.cases import CaseDataset, DataBundle
from mmfusion.data.table_augment import training_rows
from mmfusion.data.transforms import Augment
from mmfusion.layers.folders import cache_folder
from mmfusion.layers.optional import need
from mmfusion.losses.distributed import n_processes
from mmfusion.spec import Classes, DataSpec
from mmfusion.training import (
    checkpoints,
    curve,
    environment,
    evaluation,
    folder,
    optim,
    precompute,
    predictions,
    processes,
    report,
    robustness,
)
from mmfusion.training.files import read_json, write_bytes, write_json, write_text
from mmfusion.training.loop import Training, load_weights
from mmfusion.training.metrics import EXTRA, split_metric
from mmfusion.training.progress import Progress
from mmfusion.training.reporter import Reporter, Silent
from mmfusion.training.seeds import derive, deterministic, seed_all
from mmfusion.training.settings import Run, Settings

_NEEDED = ("accelerate", "safetensors", "matplotlib", "rich")
CHOSEN_ON_TEST = (
    "The epoch was chosen on the test part itself (train.select_on=test): the result there is the best of all epochs, "
    "too good for an estimate on new cases, and what is called validation is the same cases again."
)
"""The note of such a run."""


class Interrupted(KeyboardInterrupt):
    """The user stopped the run; the text says where everything so far is and how to go on."""


@dataclass(frozen=True)
class Result:
    """What a run leaves.

    Attributes:
        folder: Where.
        metrics: The content of its ``metrics.json``.
    """

    folder: Path
    metrics: Mapping[str, Any]


@dataclass(frozen=True)
class _Parts:
    """What the settings were built into."""

    settings: Settings
    bundle: DataBundle
    model: nn.Module
    target: str
    kind: Classes
    device: torch.device

    @property
    def datasets(self) -> dict[str, CaseDataset]:
        return {"train": self.bundle.train, "validation": self.bundle.validation, "test": self.bundle.test}

    def case(self) -> dict[str, Any]:
        """The content of ``case.json``: all that is needed to read new cases."""
        return {
            "format": checkpoints.FORMAT,
            "dataset": self.bundle.name,
            "target": self.target,
            "spec": self.bundle.spec.to_dict(),
            "reader": self.bundle.reader.to_dict(),
            "notes": list(self.bundle.notes),
        }


def start(settings: Settings, reporter: Reporter | None = None, *, overwrite: bool = False) -> Result:
    """Train, evaluate and write a new run.

    The folder is made only after the data and the model were built: bad input leaves nothing behind.

    Args:
        settings: From :func:`~mmfusion.training.settings.resolve`.
        reporter: Told of the progress; None: nobody is.
        overwrite: Replace a former run in the same folder.

    Returns:
        The folder and its metrics.

    Raises:
        ValueError: If something in the settings or the data is wrong; likewise FileNotFoundError, FileExistsError.
        Interrupted: If the user stops it.
    """
    out = Path(settings.run.out) if settings.run.out else folder.default(settings)
    # A resumed run may be started from another working folder.
    plugins = [str(Path(path).absolute()) for path in settings.run.plugins]
    root = None if settings.run.root is None else str(Path(settings.run.root).absolute())
    settings = replace(settings, run=replace(settings.run, root=root, plugins=plugins))
    if settings.data.get("split_file") is not None:
        split_file = str(Path(settings.data["split_file"]).absolute())
        settings = replace(settings, data={**settings.data, "split_file": split_file})
    begun = False
    try:
        with processes.together():
            reporter = _speaker(reporter)
            if processes.is_main():
                folder.check_free(out, overwrite=overwrite)
            device = pick_device(settings.run.device)
            with deterministic(device):
                parts = _build(settings, device, reporter)
                training = _training(parts, out, reporter)
                begun = True
                if processes.is_main():
                    folder.create(out)
                    # The settings first: from here on the folder is a run, and can be resumed.
                    write_json(out / folder.SETTINGS, {"format": checkpoints.FORMAT, **settings.to_dict()})
                    _write_case(out, parts)
                return _complete(parts, training, reporter)
    except KeyboardInterrupt as error:
        # A former run in that folder, about to be replaced, is not this one.
        raise Interrupted(_interrupted(out) if begun else "interrupted; nothing was written yet") from error


def resume(
    out: Path,
    reporter: Reporter | None = None,
    *,
    device: str | None = None,
    root: str | None = None,
    plugins: Sequence[str | Path] | None = None,
) -> Result:
    """Go on with an interrupted run; a finished one is only read.

    Args:
        out: The run's folder.
        reporter: Told of the progress.
        device: Another device than the run began on; its numbers may differ in the last digits.
        root: Where the dataset is now, if it was moved.
        plugins: Where its plug-ins are now, if they were moved.

    Returns:
        As the run would have returned without the interruption.

    Raises:
        FileNotFoundError: If the folder does not hold a run.
        ValueError: If the dataset is not the one that the run began with.
        Interrupted: If the user stops it again.
    """
    try:
        with processes.together():
            return _resume(out, _speaker(reporter), device=device, root=root, plugins=plugins)
    except KeyboardInterrupt as error:
        raise Interrupted(_interrupted(out)) from error


def _resume(
    out: Path,
    reporter: Reporter,
    *,
    device: str | None,
    root: str | None,
    plugins: Sequence[str | Path] | None,
) -> Result:
    settings = folder.read_settings(out)
    settings.run.out = str(out)
    settings.run.device = device or settings.run.device
    settings.run.root = root or settings.run.root
    settings.run.plugins = settings.run.plugins if plugins is None else [str(path) for path in plugins]
    # What is there is looked at once: of several processes one could see what another is about to write.
    if processes.from_main((out / folder.METRICS).is_file):
        reporter.say(f"{out} holds a finished run: nothing is left to do")
        result = Result(out, read_json(out / folder.METRICS))
        _tell(result, reporter)
        return result
    picked = pick_device(settings.run.device)
    with deterministic(picked):
        if processes.is_main():
            folder.sweep(out)
        started = processes.from_main((out / checkpoints.LAST).is_file)
        parts = _build(settings, picked, reporter, weights=not started)
        training = _training(parts, out, reporter)
        if started:
            _check_same(out, parts)
            training.restore()
            reporter.say(f"going on after epoch {training.progress.epoch} of {sum(training.epochs)}")
        elif processes.is_main():
            _write_case(out, parts)
        return _complete(parts, training, reporter)


def build_dataset(settings: Settings, reporter: Reporter) -> DataBundle:
    """The dataset of the settings.

    Args:
        settings: The section ``data`` and the name, the root and the cache are used.
        reporter: Told of the progress.

    Raises:
        ValueError: If the dataset reads no folder and one is given, or as its builder does.
        FileNotFoundError: If a file is not there.
    """
    run = settings.run
    with reporter.bar(f"preparing {run.dataset}", None) as bar:
        own = {
            "root": None if run.root is None else Path(run.root),
            "cache": _image_cache(run, reporter),
            "progress": bar.at,
        }
        known = registry.datasets.options(run.dataset)
        if run.root is not None and "root" not in known:
            raise ValueError(f"dataset {run.dataset!r} reads no folder: leave --root out")
        own = {name: value for name, value in own.items() if name in known}
        with processes.main_first():
            bundle: DataBundle = registry.datasets.create(run.dataset, **own, **settings.data)
    return bundle


def build_model(settings: Settings, spec: DataSpec, *, weights: bool) -> nn.Module:
    """The model of the settings.

    Args:
        settings: The section ``model`` and the name are used, and whether images are normalised.
        spec: What the data are.
        weights: Whether pretrained weights are fetched; False when a checkpoint follows anyway.
    """
    options = dict(settings.model)
    if not weights and "weights" in registry.models.options(settings.run.model):
        options["weights"] = "none"
    model: nn.Module = registry.models.create(settings.run.model, spec, **options)
    if not settings.train.normalise:
        for part in model.modules():
            if isinstance(part, Backbone):
                part.mean.zero_()
                part.std.fill_(1)
    return model


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device; of several processes each gets a GPU of its own.

    Raises:
        ValueError: If CUDA is asked for and there is none, or there are more processes than GPUs.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is asked for and torch sees no CUDA device: use --device cpu or auto")
    # What accelerate launch --cpu says counts where nothing else was said.
    told_cpu = name == "auto" and os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    if name == "cpu" or told_cpu or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda") if n_processes() == 1 else processes.own_gpu()


def _speaker(reporter: Reporter | None) -> Reporter:
    """Of several processes the main one speaks."""
    return reporter if reporter is not None and processes.is_main() else Silent()


def _build(settings: Settings, device: torch.device, reporter: Reporter, *, weights: bool = True) -> _Parts:
    registry.import_files(settings.run.plugins)
    for package in _NEEDED:
        need(package, "bench")
    run = settings.run
    if run.precision == "fp16" and device.type != "cuda":
        raise ValueError("precision 'fp16' needs a CUDA device: use bf16 or no")
    bundle = build_dataset(settings, reporter)
    if bundle.about:
        reporter.say(bundle.about)
    bundle = _selected(bundle, settings)
    if len(bundle.spec.targets) > 1:
        raise ValueError(
            f"a run trains one target for now, {run.dataset} has {len(bundle.spec.targets)}: "
            f"{', '.join(bundle.spec.targets)}. Choose a task of one target (data.task), or train a model of several "
            "by hand: models and losses take them"
        )
    target, kind = predictions.only_classes(bundle.spec)
    with reporter.working(f"building {run.model}"):
        seed_all(derive(run.seed))
        model = build_model(settings, bundle.spec, weights=weights)
    return _Parts(settings, bundle, model, target, kind, device)


def _selected(bundle: DataBundle, settings: Settings) -> DataBundle:
    """The bundle whose validation part is the one that chooses, and with the run's own notes."""
    notes = (*bundle.notes, *settings.run.notes)
    if settings.train.select_on == "test":
        return replace(bundle, validation=bundle.test, notes=(*notes, CHOSEN_ON_TEST))
    if not len(bundle.validation):
        raise ValueError(
            f"{settings.run.dataset} has no validation part with these options, and the epoch is chosen there: take "
            "one from the training part (data.validation=0.125)"
        )
    return replace(bundle, notes=notes)


def _image_cache(run: Run, reporter: Reporter) -> ImageCache | None:
    if not run.cache_gb:
        return None
    return ImageCache(cache_folder("images", run.cache), max_bytes=int(run.cache_gb * 1e9), say=reporter.say)


def _write_case(out: Path, parts: _Parts) -> None:
    write_json(out / folder.CASE, parts.case())
    write_text(out / folder.SPLITS, predictions.splits(parts.datasets).to_csv(index=False, lineterminator="\n"))


def _check_same(out: Path, parts: _Parts) -> None:
    splits = predictions.splits(parts.datasets).to_csv(index=False, lineterminator="\n")
    spec = DataSpec.from_dict(folder.read_case(out)["spec"])
    if spec != parts.bundle.spec or (out / folder.SPLITS).read_text(encoding="utf-8") != splits:
        raise ValueError(
            f"the dataset is not the one that {out} began with (see its {folder.SPLITS} and {folder.CASE}): give its "
            "--root, or start anew"
        )


def _training(parts: _Parts, out: Path, reporter: Reporter) -> Training:
    train, validation = parts.bundle.train, parts.bundle.validation
    if parts.settings.train.precompute:
        with processes.main_first():
            train, validation = (_with_maps(parts, name, reporter) for name in ("train", "validation"))
    return Training(
        parts.settings,
        parts.model,
        train,
        validation,
        target=parts.target,
        folder=out,
        accelerator=_accelerator(parts.settings, parts.device),
        augment=_augment(parts),
        reporter=reporter,
        case=parts.case(),
    )


def _with_maps(parts: _Parts, name: str, reporter: Reporter) -> CaseDataset:
    run, dataset = parts.settings.run, parts.datasets[name]
    with reporter.bar(f"encoding the {name} part once", len(dataset)) as bar:
        return precompute.precompute(
            parts.model.to(parts.device),
            dataset,
            cache_folder("maps", run.cache),
            batch_size=parts.settings.train.eval_batch_size,
            device=parts.device,
            bar=bar,
        )


def _complete(parts: _Parts, training: Training, reporter: Reporter) -> Result:
    progress, accelerator = training.run(), training.accelerator
    processes.wait()  # for the best weights, which the main one writes
    # The verdict is in full precision and without Accelerate: what a predictor will compute from the folder.
    model = accelerator.unwrap_model(parts.model, keep_fp32_wrapper=False)
    metrics = _finish(parts, model, training.folder, progress, reporter)
    result = Result(training.folder, processes.from_main(lambda: metrics))
    _tell(result, reporter)
    return result


def _finish(parts: _Parts, model: nn.Module, out: Path, progress: Progress, reporter: Reporter) -> dict[str, Any]:
    """Evaluate the chosen weights and write everything; the metrics last, they mark the run as finished.

    All processes predict, the main one does the rest.
    """
    settings, bundle = parts.settings, parts.bundle
    weights, about = checkpoints.load(out / checkpoints.BEST)
    load_weights(model, weights, out / checkpoints.BEST)
    began = time.perf_counter()
    held_out = {"validation": bundle.validation, "test": bundle.test}
    with reporter.working("evaluating"):
        probabilities = {
            name: evaluation.Evaluation(
                dataset,
                parts.target,
                settings.train.eval_batch_size,
                workers=settings.train.workers,
                device=parts.device,
            ).probabilities(model)
            for name, dataset in held_out.items()
        }
        if not processes.is_main():
            return {}
        inference = sum(len(dataset) for dataset in held_out.values()) / (time.perf_counter() - began)
        frame = predictions.join(
            held_out, probabilities, parts.target, parts.kind, seed=settings.run.seed, fold=bundle.fold
        )
        summary = report.summarise(
            probabilities,
            {name: dataset.labels(parts.target).numpy() for name, dataset in held_out.items()},
            {name: dataset.groups for name, dataset in held_out.items()},
            names=predictions.class_names(parts.kind),
            ceilings=bundle.ceilings,
            resamples=settings.train.resamples,
            seed=settings.run.seed,
            threshold=settings.train.threshold,
            extra=[name for name in split_metric(settings.train.metric) if name in EXTRA],
        )
    # What tests over several folds need to know, where nothing but the metrics is kept.
    summary["cases"]["train"] = len(bundle.train)
    # Before the conditions of robustness are tried: they are no part of what a run costs.
    cost = _cost(parts, model, progress, inference)
    tried = _robustness(parts, model, probabilities["test"], reporter) if settings.run.robustness else None
    metrics = {
        "format": checkpoints.FORMAT,
        "model": settings.run.model,
        "dataset": settings.run.dataset,
        "seed": settings.run.seed,
        "fold": bundle.fold,
        "preset": settings.run.preset,
        "chosen": {key: about[key] for key in ("epoch", "metric", "value")},
        **summary,
        **({} if tried is None else {"robustness": robustness.summary(tried)}),
        "notes": list(bundle.notes),
        "cost": cost,
    }
    title = f"{settings.run.model} on {settings.run.dataset}, seed {settings.run.seed}"
    write_json(out / folder.HISTORY, progress.history)
    write_json(out / folder.ENVIRONMENT, {**environment.describe(parts.device), **cost})
    write_text(out / folder.PREDICTIONS, frame.to_csv(index=False, lineterminator="\n"))
    write_bytes(out / folder.CURVE, curve.draw(progress.history, settings.train.metric, progress.best_epoch, title))
    told = predictions.subgroups(held_out, bundle.subgroups)
    if told is not None:
        write_text(out / folder.SUBGROUPS, told.to_csv(index=False, lineterminator="\n"))
    if tried is not None:
        write_json(out / folder.ROBUSTNESS, {"format": robustness.FORMAT, "rows": tried})
    write_json(out / folder.METRICS, metrics)
    return metrics


def _robustness(
    parts: _Parts, model: nn.Module, known: NDArray[np.float64], reporter: Reporter
) -> list[dict[str, Any]]:
    settings, test = parts.settings, parts.bundle.test
    cases: CaseDataset = test
    base: NDArray[np.float64] | None = known
    if settings.train.precompute:
        try:
            # Rounded otherwise than the images' own passes: the cases as they are go through them too.
            cases, base = _with_maps(parts, "test", reporter), None
        except OSError as error:
            # A trained model's results do not depend on room for its maps.
            reporter.say(f"the test part's maps are not kept: {error}")
    with reporter.bar("taking away what the model is told", len(cases)) as bar:
        found = robustness.predict(
            model,
            cases,
            parts.target,
            batch_size=settings.train.eval_batch_size,
            workers=settings.train.workers,
            device=parts.device,
            seed=settings.run.seed,
            base=base,
            bar=bar,
        )
        return robustness.rows(found, test.labels(parts.target).numpy(), test.groups, seed=settings.run.seed)


def _cost(parts: _Parts, model: nn.Module, progress: Progress, inference: float) -> dict[str, Any]:
    history = progress.history
    seconds = sum(entry["train_seconds"] for entry in history)
    one = next(iter(evaluation.in_order(parts.bundle.test, 1, workers=0, device=parts.device)))
    return {
        "parameters": optim.n_parameters(model),
        "flops_per_case": environment.flops(model, evaluation.move(one.inputs, parts.device)),
        "precision": parts.settings.run.precision,
        "processes": n_processes(),
        "epochs": progress.epoch,
        "seconds": sum(entry["seconds"] for entry in history),
        "train_cases_per_second": sum(entry["cases"] for entry in history) / seconds,
        "inference_cases_per_second": inference,
        "share_waiting_for_data": sum(entry["wait_seconds"] for entry in history) / seconds,
        "peak_memory_bytes": environment.peak_memory(parts.device),
    }


def _tell(result: Result, reporter: Reporter) -> None:
    reporter.show(report.table(result.metrics))
    for sentence in report.sentences(result.metrics):
        reporter.say(sentence)
    cost, chosen = result.metrics["cost"], result.metrics["chosen"]
    part = "test" if CHOSEN_ON_TEST in result.metrics["notes"] else "validation"
    reporter.say(
        f"Epoch {chosen['epoch']} of {cost['epochs']} chosen by {part} {chosen['metric']}; training took "
        f"{cost['seconds']:.0f} s, {cost['train_cases_per_second']:.0f} cases/s, "
        f"{cost['share_waiting_for_data']:.1%} of it waiting for data."
    )
    reporter.say(f"Everything is in {result.folder}")


def _augment(parts: _Parts) -> Augment | None:
    augment = parts.settings.augment
    if augment.table.corrupt:
        generator = torch.Generator().manual_seed(derive(parts.settings.run.seed))
        tables = {name: training_rows(parts.bundle.train, name, generator) for name in parts.bundle.spec.tables}
        augment = augment.fit(tables)
    return None if augment.idle else augment


def _accelerator(settings: Settings, device: torch.device) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    # Accelerate keeps one state a process and refuses another precision in it: a second run here starts clean.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision=settings.run.precision, cpu=device.type == "cpu")
    if accelerator.distributed_type not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise ValueError(
            f"several processes share the batch and each has the whole model; {accelerator.distributed_type.value} of "
            "accelerate's configuration is something else: start with accelerate launch --multi_gpu, or torchrun"
        )
    return accelerator


def _interrupted(out: Path) -> str:
    if not (out / folder.SETTINGS).is_file():
        return "interrupted; nothing was written yet"
    if not (out / checkpoints.LAST).is_file():
        return f"interrupted before the end of the first epoch; start again with: mmfusion run --resume {out}"
    epoch = checkpoints.load(out / checkpoints.LAST)[1]["progress"]["epoch"]
    return f"interrupted; all up to epoch {epoch} is in {out}; go on with: mmfusion run --resume {out}"
