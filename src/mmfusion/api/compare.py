"""Comparison of methods, from Python: planned, trained, tabulated."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from mmfusion.api.fit import nested, short
from mmfusion.api.study import Study
from mmfusion.comparison import (
    cluster,
    grid,
    noise_table,
    presets,
    reference_choice,
    reference_encoder,
    reference_note,
    reference_rows,
    summary,
    sweep,
    tuning,
)
from mmfusion.comparison.analysis import assemble
from mmfusion.comparison.grid import Method, Planned
from mmfusion.comparison.reference_choice import Choice
from mmfusion.comparison.sweep import Launcher
from mmfusion.experiments import console, trust
from mmfusion.experiments.argument_names import named
from mmfusion.experiments.chosen_data import Data, data_of
from mmfusion.experiments.devices import pick_device
from mmfusion.experiments.reference_features import EMBEDDINGS
from mmfusion.experiments.settings import BLUEPRINT, merge
from mmfusion.models import Blueprint, blueprint_of
from mmfusion.option_checks import checked
from mmfusion.training.reporter import Reporter

Model = str | Path | Blueprint
Layers = list[Mapping[str, Mapping[str, Any]]]
_TESTED = 5
"""Seeds of a tuned comparison, as many as a verdict needs."""


@named
@checked
def compare(
    models: Model | Sequence[Model] | Mapping[str, Model] | None,
    data: Data | str | Sequence[Data | str],
    *,
    seeds: int | Sequence[int] | None = None,
    trials: int | None = None,
    repeats: int = 1,
    folds: int | None = None,
    ablate: Sequence[str] | None = None,
    preset: str | None = None,
    parity: bool = False,
    reference: str | None = None,
    references: str | None = None,
    report: bool = False,
    epochs: int | None = None,
    batch_size: int | None = None,
    modality_dropout: float | None = None,
    encoder: str | None = None,
    weights: str | Path | None = None,
    device: str | None = None,
    precision: str | None = None,
    jobs: int | None = None,
    processes: int | None = None,
    launcher: str | None = None,
    launcher_options: Mapping[str, Any] | None = None,
    out: str | Path = "runs",
    overwrite: bool = False,
    plugins: Sequence[str | Path] | None = None,
    settings: Mapping[str, Any] | None = None,
    verbose: bool | Reporter = True,
) -> Study:
    """Train and evaluate methods over seeds and folds, one folder per run; the same call continues.

    Args:
        models: Names, patterns, names with options as ``"tip[pretrain=true]"``, ``.toml`` files and blueprints; or by a
            name of your choice, blueprints and files. None: those of the preset.
        data: From :func:`~mmfusion.read_table` or :func:`~mmfusion.load_dataset`, or names of generated datasets.
        seeds: Their number, counted from 0, or a list; None: one, and five with ``trials``.
        trials: Tune every method with this number of trials on validation, a power of two; None: no tuning.
        repeats: Starts per seed that differ by rounding alone.
        folds: Of a cross-validation; None: the dataset's own split.
        ablate: Also without these parts; empty: each in turn. None: no ablations.
        preset: A whole comparison: ``paper``, ``frozen``, ``finetuned`` or ``quick``.
        parity: Follow the preset's published procedure, with its faults.
        reference: The method that the report tests the others against, named before any run; None: ``concat``, or the
            preset's.
        references: Reference rows: ``table``, ``embeddings``, ``lightgbm``, ``tabpfn`` with commas between; ``all``;
            ``none``. None: those that are installed.
        report: Whether to write the report to ``out/report`` at the end; :meth:`Study.report` does it later.
        epochs: As for :func:`~mmfusion.fit`, for every method; so are ``batch_size``, ``modality_dropout``,
            ``encoder``, ``weights``, ``device``, ``precision``, ``plugins`` and ``settings``.
        batch_size: See ``epochs``.
        modality_dropout: See ``epochs``.
        encoder: See ``epochs``.
        weights: See ``epochs``.
        device: See ``epochs``.
        precision: See ``epochs``.
        jobs: Runs at the same time, each in a process of its own; None: one after another in this process, which alone
            knows parts that were registered in it.
        processes: Processes per run, started by torchrun.
        launcher: ``processes``, ``slurm`` or ``local``.
        launcher_options: Of submitit, as in ``{"slurm_partition": "gpu"}``.
        out: Folder of the runs and tables.
        overwrite: Start finished and interrupted runs anew.
        plugins: See ``epochs``.
        settings: See ``epochs``.
        verbose: True to show progress and results, False for silence, or a reporter.

    Returns:
        The study.

    Raises:
        ValueError: If an argument, a setting or a dataset is wrong; no run is started.
        FileNotFoundError: If a file does not exist; no run is started.
        FileExistsError: If ``out`` has a ``table.csv`` of something else; no run is started.
        mmfusion.comparison.sweep.SweepError: If runs failed, after all others, the table and the report were made; its
            ``study`` has them.
        mmfusion.experiments.run.Interrupted: If the user stops it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "several runs are started by one process: leave out torchrun (see processes=...), or start a single run"
        )
    reporter = console.reporter_of(verbose)
    trust.run_given(plugins or ())
    arguments = {
        "epochs": epochs,
        "batch_size": batch_size,
        "modality_dropout": modality_dropout,
        "encoder": encoder,
        "weights": None if weights is None else str(weights),
        "device": device,
        "precision": precision,
    }
    layers: Layers = [nested(settings or {}), short(arguments, plugins)]
    datasets = _datasets(data)
    out = Path(out)
    summary.check_free(out)
    compute = _launcher(launcher, launcher_options, jobs, processes, out)
    rows_beside = _references(references, layers)
    if parity and preset is None:
        raise ValueError("parity=True needs a preset, as in preset='paper'")
    if models is None and preset is None:
        raise ValueError("compare expects models, or a preset")
    chosen = range(seeds) if isinstance(seeds, int) else seeds
    if isinstance(seeds, int) and seeds < 1:
        raise ValueError(f"seeds expects a number of seeds from 1 on, or a list of them, got {seeds}")
    if chosen is None and trials is not None:
        chosen = range(_TESTED)
    place: dict[str, Any] = {"seeds": chosen, "folds": folds, "repeats": repeats, "out": out}
    if preset is None:
        planned = _of_methods(methods_of(models, ablate), datasets, layers, place)
        judged_by = {"reference": reference, "metrics": assemble.ALL}
    else:
        loaded = [presets.load(preset, one.name, parity) for one in datasets]
        in_place = None
        if models is not None or ablate is not None:
            in_place = [methods_of(one.models if models is None else models, ablate) for one in loaded]
        planned = _of_presets(loaded, datasets, layers, place, in_place, device, reporter)
        judged_by = _judged_by(loaded, reference)
    beforehand = True
    if report or reference is not None:
        beforehand = _check_reference(
            judged_by["reference"], reference is not None, planned, rows_beside, reporter, out, overwrite
        )
    if trials is None:
        outcomes = sweep.sweep(planned, reporter, launcher=compute, overwrite=overwrite)
    else:
        outcomes = tuning.run(planned, trials, reporter, launcher=compute, overwrite=overwrite, out=out)
    study = _tabulated(outcomes, planned, rows_beside, out, reporter, judged_by, beforehand)
    if report and study.rows:
        study.report(verbose=reporter)
    try:
        sweep.check(outcomes)
    except sweep.SweepError as error:
        error.study = study
        raise
    return study


def methods_of(
    models: Model | Sequence[Model] | Mapping[str, Model] | None, ablate: Sequence[str] | None = None
) -> list[Method]:
    """The methods that ``models`` names; see :func:`compare`.

    Raises:
        ValueError: If a name, a pattern, an option or an ablation does not exist, or there are modules among them.
    """
    by_name: dict[str, Model] = {}
    texts: list[str] = []
    if isinstance(models, Mapping):
        by_name = {f"{name.removesuffix('.toml')}.toml": model for name, model in models.items()}
    else:
        for model in [models] if isinstance(models, str | Path | Blueprint) else list(models or ()):
            if isinstance(model, Blueprint):
                number = f"_{len(by_name) + 1}" if by_name else ""
                by_name[f"{BLUEPRINT.removesuffix('.toml')}{number}.toml"] = model
            elif isinstance(model, str | Path):
                texts.append(str(model))
            else:
                what = "a module" if isinstance(model, nn.Module) else type(model).__name__
                raise ValueError(
                    f"models expects names, .toml files and blueprints, got {what}: register a function that builds "
                    "it, mmfusion.registry.models.register(name), and give its name"
                )
    if not texts and not by_name:
        raise ValueError(f"models expects a name, got {models!r}")
    methods = grid.methods(",".join(texts), ablate) if texts else []
    for name, model in by_name.items():
        content = blueprint_of(model).to_dict()
        methods.append(Method(name, name, {"model": {"blueprint": content}}, ("model.blueprint",)))
    return methods


def _of_methods(
    methods: Sequence[Method], datasets: Sequence[Data], layers: Layers, place: Mapping[str, Any]
) -> list[Planned]:
    place = {**place, "seeds": (0,) if place["seeds"] is None else place["seeds"]}
    return [run for one in datasets for run in grid.plan(methods, [one.name], [one.settings, *layers], **place)]


def _of_presets(
    loaded: Sequence[presets.Preset],
    datasets: Sequence[Data],
    layers: Layers,
    place: Mapping[str, Any],
    methods: Sequence[Sequence[Method]] | None,
    device: str | None,
    reporter: Reporter,
) -> list[Planned]:
    planned: list[Planned] = []
    for number, (one, preset) in enumerate(zip(datasets, loaded, strict=True)):
        user = [one.settings, *layers]
        runs = preset.plan(user, methods=None if methods is None else methods[number], **place)
        reporter.say(f"{preset.title} on {one.name}: {preset.about} Compared with {preset.reference}.")
        # Other sizes than the paper's take another time.
        changed = merge({}, *user)
        whole = "size" not in changed.get("data", {}) and "encoder" not in changed.get("model", {})
        if whole and pick_device(device or "auto").type == "cpu" and (warning := preset.on_cpu(runs)):
            reporter.say(warning)
        planned += runs
    return planned


def _judged_by(loaded: Sequence[presets.Preset], reference: str | None) -> dict[str, Any]:
    """The reference of a report of presets, and its metrics; one that a dataset does not have is left out there."""
    metrics = ",".join(dict.fromkeys(metric for preset in loaded for metric in preset.metrics))
    return {"reference": reference or loaded[0].reference, "metrics": metrics}


def _datasets(data: Data | str | Sequence[Data | str]) -> list[Data]:
    chosen = data if isinstance(data, Sequence) and not isinstance(data, str) else [data]
    datasets = [data_of(one) for one in chosen]
    names = [one.name for one in datasets]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"data expects one dataset, or several of different names, got {names}: compare each table in a study of "
            "its own"
        )
    return datasets


def _references(text: str | None, layers: Layers) -> Choice:
    """The reference rows that are fitted beside the methods."""
    if merge({}, *layers).get("run", {}).get("references", True):
        return reference_choice.choose(text)
    if text not in (None, reference_choice.NONE):
        raise ValueError(f"run.references=false leaves all reference rows out: leave it out for references={text!r}")
    return reference_choice.choose(reference_choice.NONE)


def _launcher(
    name: str | None, options: Mapping[str, Any] | None, jobs: int | None, processes: int | None, out: Path
) -> Launcher:
    if name in (None, "processes"):
        if options:
            raise ValueError("launcher_options=... needs a cluster: add launcher='slurm'")
        if name is None and jobs is None and processes is None:
            return sweep.Here()
        return sweep.Processes(1 if jobs is None else jobs, 1 if processes is None else processes)
    each = 1 if processes is None else processes
    return cluster.Cluster(name, jobs=jobs, processes=each, options=dict(options or {}), logs=out / "submitit")


def _check_reference(
    reference: str | None,
    given: bool,
    planned: Sequence[Planned],
    references: Choice,
    reporter: Reporter,
    out: Path,
    overwrite: bool,
) -> bool:
    """Check before training that the report will have its reference.

    Returns:
        Whether the reference was named before any run finished; always true for a preset's and the default.
    """
    name = assemble.REFERENCE if reference is None else reference
    names = [name for run in planned for name in (run.label, run.settings.run.model)]
    known = reference_encoder.encoders(planned)[0]
    rows = [row.name for row in references.rows if known or EMBEDDINGS not in row.inputs]
    if name in names or name in rows:
        return not given or reference_note.note(out, name, planned, overwrite=overwrite)
    methods = ", ".join(dict.fromkeys(run.label for run in planned))
    if given:
        known_names = "; ".join(filter(None, (methods, ", ".join(rows))))
        raise ValueError(f"reference expects one of the methods that run ({known_names}), got {name!r}")
    reporter.say(
        f"The reference {name} is not among the methods ({methods}), so the report will have no tests: add it to "
        "models=..., or name another one with reference=..."
    )
    return True


def _tabulated(
    outcomes: Sequence[sweep.Outcome],
    planned: Sequence[Planned],
    references: Choice,
    out: Path,
    reporter: Reporter,
    judged_by: Mapping[str, Any],
    beforehand: bool,
) -> Study:
    """The tables of the outcomes, written and shown, with the reference rows."""
    rows = summary.rows(outcomes)
    places: list[Path] = []
    if rows:
        if references.rows:
            places = reference_rows.beside(planned, out, reporter, references)
        of_tables = summary.reference_rows(places)
        sentences = summary.ahead(rows, of_tables)
        rows += of_tables
        summary.write(rows, out)
        for dataset in dict.fromkeys(row.dataset for row in rows):
            reporter.show(summary.table(rows, dataset))
        for sentence in sentences:
            reporter.say(sentence)
        reporter.say(f"The table is in {out / summary.CSV} and {out / summary.MARKDOWN}")
    elif any(outcome.metrics is not None for outcome in outcomes):
        reporter.say("There is no table and no report, since no test set was evaluated (run.test=false)")
    if noise := noise_table.rows(outcomes):
        for dataset in dict.fromkeys(dataset for dataset, _ in noise):
            reporter.show(noise_table.table(noise, dataset))
        reporter.say(f"The noise of the repeats is in {noise_table.write(noise, out)}")
    return Study(out, tuple(outcomes), tuple(rows), tuple(places), beforehand=beforehand, **judged_by)
