"""Dataset, model and training of a run, built from its settings."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mmfusion import registry
from mmfusion.backbones.base import Backbone
from mmfusion.data.bundle import DataBundle
from mmfusion.data.cases import CaseDataset, StoredCases, check_classes
from mmfusion.data.frame import FrameDataset
from mmfusion.data.images.cache import ImageCache
from mmfusion.data.schema.ranges import outside_notes
from mmfusion.data.splits.folds import held_out
from mmfusion.data.transforms import Augment
from mmfusion.data.transforms.table_augment import training_rows
from mmfusion.experiments import footprint, predictions
from mmfusion.experiments.devices import accelerator
from mmfusion.experiments.selection import check_metric
from mmfusion.experiments.settings import RunSettings, Settings
from mmfusion.experiments.survey import Survey, check_images, survey
from mmfusion.models import FusionModel, OwnModule
from mmfusion.spec import Classes, DataSpec
from mmfusion.training import arithmetic, checkpoints, precompute, processes
from mmfusion.training.divergence import advice
from mmfusion.training.loop import Training
from mmfusion.training.phases import phases_of
from mmfusion.training.reporter import Reporter
from mmfusion.training.seeds import derive, seed_all
from mmfusion.utils.cache_folders import cache_folder
from mmfusion.utils.optional import need

_NEEDED = ("accelerate", "safetensors", "matplotlib", "jinja2", "rich")
CHOSEN_ON_TEST = (
    "The epoch was chosen on the test part itself (train.select_on=test): the result there is the best of all epochs, "
    "too good for an estimate on new cases, and what is called validation is the same cases again."
)
"""The note of such a run."""


@dataclass(frozen=True)
class Parts:
    """Dataset, model and device of a run."""

    settings: Settings
    bundle: DataBundle
    model: nn.Module
    target: str
    kind: Classes
    device: torch.device
    survey: Survey

    @property
    def datasets(self) -> dict[str, CaseDataset]:
        return self.bundle.sets

    def case(self) -> dict[str, Any]:
        """The content of ``case.json``: all that is needed to read new cases."""
        return {
            "format": checkpoints.FORMAT,
            "dataset": self.bundle.name,
            "target": self.target,
            "spec": self.bundle.spec.to_dict(),
            "reader": self.bundle.reader.to_dict(),
        }


def build_dataset(settings: Settings, reporter: Reporter) -> DataBundle:
    """The dataset of the settings.

    Args:
        settings: The section ``data`` and the name, the root and the cache are used.
        reporter: Receives the progress.

    Raises:
        ValueError: If the dataset reads no folder and one is given, or as its builder does.
        FileNotFoundError: If a file does not exist.
    """
    run = settings.run
    with reporter.bar(f"preparing {run.dataset}", None) as bar:
        arguments = {
            "root": None if run.root is None else Path(run.root),
            "cache": _image_cache(run, reporter),
            "progress": bar.at,
        }
        known = registry.datasets.options(run.dataset)
        if run.root is not None and "root" not in known:
            raise ValueError(f"dataset {run.dataset!r} reads no folder: leave out run.root")
        arguments = {name: value for name, value in arguments.items() if name in known}
        with processes.main_first():
            bundle: DataBundle = registry.datasets.create(run.dataset, **arguments, **settings.data)
    return _with_range_notes(bundle)


def _with_range_notes(bundle: DataBundle) -> DataBundle:
    """Add a note for each column and set with numbers far outside the training range."""
    sets = {"training": bundle.train, "validation": bundle.validation, "test": bundle.test}
    frames = {name: dataset.frame for name, dataset in sets.items() if isinstance(dataset, StoredCases)}
    notes = outside_notes(bundle.reader.schema, frames)
    return replace(bundle, notes=tuple(dict.fromkeys((*bundle.notes, *notes))))


def build_model(settings: Settings, spec: DataSpec, *, weights: bool, module: nn.Module | None = None) -> nn.Module:
    """The model of the settings.

    Args:
        settings: The section ``model`` and the name are used, and ``train.normalise``.
        spec: What the data are.
        weights: Whether to load pretrained weights; False if a checkpoint follows.
        module: A model of the user's own in their place, which is copied.
    """
    if module is not None:
        module = copy.deepcopy(module)
        model = module if isinstance(module, FusionModel) and module.blueprint else OwnModule(module, spec)
    else:
        options = dict(settings.model)
        if not weights and "weights" in registry.models.options(settings.run.model):
            options["weights"] = "none"
        model = registry.models.create(settings.run.model, spec, **options)
    if not settings.train.normalise:
        for part in model.modules():
            if isinstance(part, Backbone):
                part.mean.zero_()
                part.std.fill_(1)
    return model


def build(
    settings: Settings,
    device: torch.device,
    reporter: Reporter,
    *,
    weights: bool = True,
    module: nn.Module | None = None,
) -> Parts:
    """The dataset and the model of the settings.

    Args:
        settings: Of the run; its plug-ins run already.
        device: Where it will train.
        reporter: Receives the progress.
        weights: As for :func:`build_model`.
        module: As for :func:`build_model`.

    Raises:
        ValueError: If the settings do not fit the device or the dataset, or as the builders do.
        OutOfMemory: If the model cannot fit into memory.
        FileNotFoundError: If a file does not exist, or no training case has an image that the model looks at.
    """
    for package in _NEEDED:
        need(package, "bench")
    run = settings.run
    arithmetic.check(run.precision, device)
    bundle = build_dataset(settings, reporter)
    if bundle.about:
        reporter.say(bundle.about)
    bundle = selected(bundle, settings)
    if len(bundle.spec.targets) > 1:
        raise ValueError(
            f"a run trains one target for now, {run.dataset} has {len(bundle.spec.targets)}: "
            f"{', '.join(bundle.spec.targets)}. Choose a task of one target (data.task), or train a model of several "
            "by hand: models and losses take them"
        )
    target, kind = predictions.only_classes(bundle.spec)
    if len(bundle.train) < 2:
        raise ValueError(
            f"the training set has {len(bundle.train)} case, and at least 2 are needed for batch statistics: give more "
            "cases, or another split"
        )
    for part, dataset in (("training", bundle.train), ("validation", bundle.validation), ("test", bundle.test)):
        check_classes(f"the {part} set's target {target!r}", dataset.labels(target), kind.n)
    check_metric(
        settings.train.metric,
        bundle.validation.labels(target).numpy(),
        predictions.class_names(kind),
        where=settings.train.select_on,
    )
    with reporter.working("looking at the cases"):
        case_survey = survey(bundle)
    for note in case_survey.notes:
        reporter.say(note)
    bundle = replace(bundle, notes=(*bundle.notes, *case_survey.notes))
    with reporter.working(f"building {run.model}"):
        if module is None:
            footprint.check_fits(settings, bundle.spec, device)
        seed_all(derive(run.seed))
        model = build_model(settings, bundle.spec, weights=weights, module=module)
        # Built once without effect: faults of the loss raise before the folder exists.
        with torch.random.fork_rng(devices=[]):
            phases_of(model)
    check_images(case_survey, bundle, model, run.root)
    return Parts(settings, bundle, model, target, kind, device, case_survey)


def prepare(parts: Parts, out: Path, reporter: Reporter) -> Training:
    """The training of these parts, ready to begin or to be restored; a frozen encoder's maps are computed here.

    Args:
        parts: From :func:`build`.
        out: The run's folder.
        reporter: Receives the progress.

    Raises:
        ValueError: If the encoder is not frozen where its maps are to be kept, or as :class:`~.loop.Training` does.
    """
    settings, run = parts.settings, parts.settings.run
    train, validation = parts.bundle.train, parts.bundle.validation
    if settings.train.precompute:
        with processes.main_first():
            train, validation = (with_maps(parts, name, reporter) for name in ("train", "validation"))
    return Training(
        settings.train,
        parts.model,
        train,
        validation,
        target=parts.target,
        folder=out,
        accelerator=accelerator(run.precision, parts.device),
        augment=_augment(parts),
        reporter=reporter,
        seed=run.seed,
        repeat=run.repeat,
        advice=advice(settings.train, run.precision),
        standardized=_standardized(settings, train),
        text_cache=Path(run.cache) / "text" if run.cache else None,
    )


def with_maps(parts: Parts, name: str, reporter: Reporter) -> CaseDataset:
    """One of the three sets, with the frozen encoder's maps in place of its images, computed once and kept.

    Args:
        parts: From :func:`build`.
        name: ``train``, ``validation`` or ``test``.
        reporter: Receives the progress.

    Raises:
        OSError: If there is no room for them.
    """
    run, dataset = parts.settings.run, parts.datasets[name]
    with reporter.bar(f"encoding the {name} set once", len(dataset)) as bar:
        return precompute.precompute(
            parts.model.to(parts.device),
            dataset,
            cache_folder("maps", run.cache),
            batch_size=parts.settings.train.eval_batch_size,
            device=parts.device,
            bar=bar,
        )


def selected(bundle: DataBundle, settings: Settings) -> DataBundle:
    """The bundle with the set that chooses the epoch as validation set, and with the run's notes."""
    notes = (*bundle.notes, *settings.run.notes)
    if not len(bundle.test) and settings.run.test:
        raise ValueError(
            f"{settings.run.dataset} has no test set with these options, and a run ends with its metrics there: give "
            "it cases (another split, data.fold or data.test), or test nothing (run.test=false)"
        )
    bundle = replace(_with_calibration(bundle, settings), notes=notes)
    if settings.train.select_on == "test":
        return replace(bundle, validation=bundle.test, notes=(*notes, CHOSEN_ON_TEST))
    if not len(bundle.validation):
        raise ValueError(
            f"{settings.run.dataset} has no validation set with these options, and the epoch is chosen there: take "
            "one from the training set (data.validation=0.125)"
        )
    return bundle


def _with_calibration(bundle: DataBundle, settings: Settings) -> DataBundle:
    """The bundle with the share of the training set that conformal sets need as a set of its own.

    The same cases for every seed, so that an ensemble of seeds has them in common.
    """
    share = settings.train.calibration
    if not share:
        return bundle
    train = bundle.train
    if not isinstance(train, FrameDataset):
        raise ValueError(f"train.calibration needs a dataset of a table, {settings.run.dataset} gives another one")
    labels = train.labels(predictions.only_classes(bundle.spec)[0]).numpy()
    groups = np.asarray(train.groups, dtype=object)
    try:
        kept, taken = held_out(np.arange(len(train)), labels, groups, share, 0)
    except ValueError as error:
        raise ValueError(f"train.calibration cannot be taken out of the training set: {error}") from error
    return replace(bundle, train=train.subset(kept), calibration=train.subset(taken))


def _image_cache(run: RunSettings, reporter: Reporter) -> ImageCache | None:
    if not run.cache_gb:
        return None
    return ImageCache(cache_folder("images", run.cache), max_bytes=int(run.cache_gb * 1e9), say=reporter.say)


def _standardized(settings: Settings, train: CaseDataset) -> tuple[str, ...]:
    """The images whose values need not be in [0, 1]."""
    if not settings.augment.clamp:
        return tuple(train.spec.images)
    return tuple(train.intensities) if isinstance(train, StoredCases) else ()


def _augment(parts: Parts) -> Augment | None:
    augment = parts.settings.augment
    if augment.table.corrupt:
        generator = torch.Generator().manual_seed(derive(parts.settings.run.seed))
        tables = {name: training_rows(parts.bundle.train, name, generator) for name in parts.bundle.spec.tables}
        augment = augment.fit(tables)
    return None if augment.idle else augment
