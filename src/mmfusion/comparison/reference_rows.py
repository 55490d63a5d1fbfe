"""Reference rows of a comparison, in folders that are read like those of runs."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmfusion.comparison import reference_choice
from mmfusion.comparison.finished_run import ROW, is_foreign
from mmfusion.comparison.grid import Planned, short
from mmfusion.comparison.reference_choice import Choice, Reference
from mmfusion.comparison.reference_encoder import Encoder, encoders
from mmfusion.comparison.reference_inputs import Inputs
from mmfusion.data.bundle import DataBundle
from mmfusion.experiments import environment, file_digests, folder, predictions, run_report
from mmfusion.experiments.assembly import build_dataset
from mmfusion.experiments.reference_features import EMBEDDINGS
from mmfusion.experiments.settings import RunSettings, Settings
from mmfusion.training.checkpoints import FORMAT
from mmfusion.training.reporter import Reporter
from mmfusion.training.result_files import write_json, write_text
from mmfusion.training.settings import Train


@dataclass(frozen=True)
class Wanted:
    """A reference row of one dataset, split and seed.

    Attributes:
        reference: Its learner and inputs.
        settings: Dataset, its options, seed; encoder and weights if it sees embeddings.
        place: Its folder, which need not exist yet.
        encoder: Of its embeddings; None without.
    """

    reference: Reference
    settings: Settings
    place: Path
    encoder: Encoder | None = None

    @property
    def finished(self) -> bool:
        """Whether it was fitted."""
        return (self.place / folder.METRICS).is_file()


def wanted(
    rows: Sequence[Reference],
    dataset: str,
    out: Path,
    *,
    data: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    seed: int = 0,
    encoder: Encoder | None = None,
) -> list[Wanted]:
    """Reference rows with their folders ``<out>/<dataset>/<row>/seed<seed>-<address>``.

    Args:
        rows: The chosen ones; those on embeddings are left out without an encoder.
        dataset: Registered name.
        out: Parent of the folders.
        data: Options of the dataset, with its fold. The address has the digests of a table and a split file: after a
            correction the rows are fitted anew, in new folders.
        plugins: Files that define the dataset, by digest in the address; unused for a dataset of this package.
        seed: Seed of the folds of the inner cross-validation and of the boosting.
        encoder: Of the embeddings, part of the address of rows that see them.
    """
    # A plug-in that brings only models does not change the rows.
    counted = list(plugins) if is_foreign(dataset) else []
    found = []
    for row in rows:
        settings = Settings(RunSettings(row.name, dataset, seed=seed, plugins=counted), data=dict(data or {}))
        if EMBEDDINGS in row.inputs:
            if encoder is None:
                continue
            settings.model = dict(encoder.options)
            settings.train = Train(normalise=encoder.normalise)
        own = encoder if EMBEDDINGS in row.inputs else None
        found.append(Wanted(row, settings, _place(out, settings), own))
    return found


def write(want: Wanted, inputs: Inputs, *, resamples: int = 2000) -> None:
    """Fit a reference row to a dataset's training set and store its predictions for the other sets.

    Args:
        want: The row; a finished one is left unchanged.
        inputs: Features of the dataset.
        resamples: Number of bootstrap resamples.

    Raises:
        ValueError: If there is no validation set or not a single target of classes, a class has fewer than 5 training
            cases, or the row cannot be fitted to such data.
        ImportError: If its library is not installed.
    """
    if want.finished:
        return
    bundle, seed = inputs.bundle, want.settings.run.seed
    target, kind = predictions.only_classes(bundle.spec)
    if not len(bundle.validation):
        raise ValueError("the reference rows need a validation set, on which thresholds and temperatures are chosen")
    held_out = {"validation": bundle.validation, "test": bundle.test}
    learner, features, labels = inputs.learner(want.reference, target, kind, seed=seed)
    began = time.perf_counter()
    probabilities = inputs.predict(learner, features, labels, kind)
    cost: dict[str, Any] = {"seconds": time.perf_counter() - began}
    if EMBEDDINGS in want.reference.inputs:
        cost["embedding_seconds"] = inputs.embedding_seconds
    summary = run_report.summarize(
        probabilities,
        {part: dataset.labels(target).numpy() for part, dataset in held_out.items()},
        {part: dataset.groups for part, dataset in held_out.items()},
        names=predictions.class_names(kind),
        ceilings=bundle.ceilings,
        resamples=resamples,
        seed=seed,
    )
    frame = predictions.join(held_out, probabilities, target, kind, seed=seed, fold=bundle.fold)
    splits = predictions.splits({"train": bundle.train, **held_out})
    about: dict[str, Any] = {"model": want.reference.name, "dataset": bundle.name, "seed": seed, "fold": bundle.fold}
    about[ROW] = want.reference.library
    want.place.mkdir(parents=True, exist_ok=True)
    write_json(want.place / folder.SETTINGS, {"format": FORMAT, **want.settings.to_dict()})
    write_text(want.place / folder.SPLITS, splits.to_csv(index=False, lineterminator="\n"))
    write_json(want.place / folder.ENVIRONMENT, environment.describe(torch.device("cpu")))
    write_text(want.place / folder.PREDICTIONS, frame.to_csv(index=False, lineterminator="\n"))
    summary["cases"]["train"] = len(bundle.train)
    if digests := file_digests.recorded(want.settings):
        about[file_digests.CONTENT] = digests
    metrics = {"format": FORMAT, **about, **summary, "notes": list(bundle.notes), "cost": cost}
    write_json(want.place / folder.METRICS, metrics)


@dataclass
class _Group:
    """The runs of one dataset with the same options, in their order."""

    planned: list[Planned] = field(default_factory=list)

    @property
    def by_seed(self) -> dict[int, Planned]:
        return {run.settings.run.seed: run for run in reversed(self.planned)}

    @property
    def name(self) -> str:
        run, fold = self.planned[0].settings.run, self.planned[0].settings.data.get("fold")
        return run.dataset if fold is None else f"{run.dataset}, fold {fold}"


def beside(planned: Sequence[Planned], out: Path, reporter: Reporter, choice: Choice | None = None) -> list[Path]:
    """The reference rows of every dataset, split and seed of a sweep.

    Args:
        planned: The sweep's runs.
        out: Parent of the folders, as for :func:`wanted`.
        reporter: Receives a line for rows that are left out, with the reason.
        choice: The rows; None: the default ones.

    Returns:
        The folders.
    """
    choice = choice or reference_choice.choose()
    for line in choice.left_out:
        reporter.say(line)
    # By dataset and options, so that one dataset is in memory at a time.
    groups: dict[str, _Group] = {}
    for run in planned:
        chosen = run.settings.run
        key = json.dumps([chosen.dataset, chosen.root, run.settings.data], sort_keys=True, default=repr)
        groups.setdefault(key, _Group()).planned.append(run)
    return [place for group in groups.values() for place in _of_group(group, out, reporter, choice)]


def _of_group(group: _Group, out: Path, reporter: Reporter, choice: Choice) -> list[Path]:
    lacking: dict[str, list[str]] = {}
    found: list[Encoder | None] = [None]
    if on_embeddings := [row for row in choice.rows if EMBEDDINGS in row.inputs]:
        known, reason = encoders(group.planned)
        found = [*known] or [None]
        if reason:
            lacking[reason] = [row.name for row in on_embeddings]
    all_wanted: dict[Path, tuple[Wanted, Planned]] = {}
    for seed, run in sorted(group.by_seed.items()):
        chosen = run.settings
        for encoder in found:
            of_seed = wanted(
                choice.rows,
                chosen.run.dataset,
                out,
                data=chosen.data,
                plugins=chosen.run.plugins,
                seed=seed,
                encoder=encoder,
            )
            all_wanted |= {want.place: (want, run) for want in of_seed}
    missing = [(want, run) for want, run in all_wanted.values() if not want.finished]
    if missing:
        _fit(missing, group, reporter, lacking)
    for reason, names in lacking.items():
        which = f"reference rows ({', '.join(names)})" if len(names) < len(choice.rows) else "reference rows"
        reporter.say(f"No {which} for {group.name}: {reason}")
    return [want.place for want, _ in all_wanted.values() if want.finished]


def _fit(
    missing: Sequence[tuple[Wanted, Planned]], group: _Group, reporter: Reporter, lacking: dict[str, list[str]]
) -> None:
    """Fit rows; the names of those that cannot be fitted are added to ``lacking``, by reason."""
    inputs: dict[int, Inputs] = {}
    failed: set[tuple[str, int]] = set()
    bundle: DataBundle | None = None
    for want, run in missing:
        name, seed = want.reference.name, want.settings.run.seed
        if (name, id(want.encoder)) in failed:
            continue  # another seed would fail alike, after as long a wait for weights that cannot be downloaded
        try:
            bundle = bundle or build_dataset(run.settings, reporter)
            of_encoder = inputs.setdefault(id(want.encoder), Inputs(bundle, want.encoder, reporter))
            with reporter.working(f"fitting {name}, seed {seed}"):
                write(want, of_encoder, resamples=run.settings.train.resamples)
        except (ValueError, ImportError, OSError) as error:
            names = lacking.setdefault(" ".join(str(error).split()), [])
            failed.add((name, id(want.encoder)))
            if name not in names:
                names.append(name)
            if bundle is None:
                names[:] = dict.fromkeys(other.reference.name for other, _ in missing)
                return


def _place(out: Path, settings: Settings) -> Path:
    chosen, counted = settings.run, settings.computed()
    counted["data"] = file_digests.by_content(counted["data"])
    for section, key in (("run", "repeat"), ("run", "test"), ("train", "calibration")):
        del counted[section][key]  # settings of trained models, which the rows of former versions do not have
    if chosen.plugins:
        counted["plugins"] = file_digests.of_plugins(settings)
    name = f"{folder.name(settings)}-{short(counted)}"
    return out / chosen.dataset / re.sub(r"[^A-Za-z0-9]+", "-", chosen.model) / name
