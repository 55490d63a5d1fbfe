"""A run: from settings to a folder of results, and its continuation after an interruption."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from mmfusion.experiments import (
    diverged_run,
    evaluation,
    file_digests,
    folder,
    lock,
    predictions,
    same_cases,
    trust,
)
from mmfusion.experiments.assembly import Parts, build, prepare
from mmfusion.experiments.devices import pick_device
from mmfusion.experiments.settings import Settings
from mmfusion.packed import entries
from mmfusion.training import checkpoints, memory, processes
from mmfusion.training.arithmetic import arithmetic
from mmfusion.training.callbacks import Calls
from mmfusion.training.loop import Training
from mmfusion.training.loss_log import NonFiniteLoss
from mmfusion.training.reporter import Reporter, Silent
from mmfusion.training.result_files import WriteError, read_json, write_json, write_text
from mmfusion.training.seeds import deterministic


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


def start(
    settings: Settings,
    reporter: Reporter | None = None,
    *,
    overwrite: bool = False,
    module: nn.Module | None = None,
    calls: Calls | None = None,
) -> Result:
    """Train, evaluate and write a new run.

    The folder is made only after the data and the model were built: bad input leaves nothing behind.

    Args:
        settings: From :func:`~mmfusion.experiments.settings.resolve`.
        reporter: Receives the progress; None: silent.
        overwrite: Replace a former run in the same folder.
        module: A model of the user's own, as for :func:`~mmfusion.experiments.assembly.build_model`.
        calls: The callbacks.

    Returns:
        The folder and its metrics.

    Raises:
        ValueError: If something in the settings or the data is wrong, or another process works on the folder; likewise
            FileNotFoundError, FileExistsError.
        NonFiniteLoss: If the training diverges.
        OutOfMemory: If memory is short.
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
                lock.check(out)
                folder.check_free(out, overwrite=overwrite)
            trust.run_given(settings.run.plugins)
            device = pick_device(settings.run.device)
            with deterministic(device, tf32=settings.run.precision == "tf32"):
                with memory.guard("preparing", device, _advice(settings)):
                    parts = build(settings, device, reporter, module=module)
                    training = prepare(parts, out, reporter)
                with lock.held(out):
                    if processes.is_main():
                        # Another one may have begun there while this one was built.
                        folder.check_free(out, overwrite=overwrite)
                    begun = True
                    if processes.is_main():
                        # From here on the folder is a run, and can be resumed.
                        folder.create(out, {"format": checkpoints.FORMAT, **settings.to_dict()})
                        _write_case(out, parts)
                    return _complete(parts, training, reporter, calls or Calls())
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
    module: nn.Module | None = None,
    calls: Calls | None = None,
) -> Result:
    """Continue an interrupted run; a finished one is only read.

    Args:
        out: The run's folder.
        reporter: Receives the progress.
        device: Another device than the run began on; its numbers may differ in the last digits.
        root: Where the dataset is now, if it was moved.
        plugins: The plug-ins to run in place of those that the folder names; None: those that it names, each only if
            you have allowed that very file before, see :mod:`mmfusion.experiments.trust`.
        module: The model of the user's own that the run began with.
        calls: The callbacks; a finished run calls none.

    Returns:
        As the run would have returned without the interruption.

    Raises:
        FileNotFoundError: If the folder does not hold a run.
        mmfusion.registry.PluginError: If the folder names a plug-in that was not allowed, or one fails.
        ValueError: If the dataset is not the one that the run began with, or another process works on the folder.
        NonFiniteLoss: If the run diverged before, or does now.
        OutOfMemory: If memory is short.
        Interrupted: If the user stops it again.
    """
    try:
        with processes.together(), lock.held(out) if out.is_dir() else nullcontext():
            return _resume(
                out,
                _speaker(reporter),
                device=device,
                root=root,
                plugins=plugins,
                module=module,
                calls=calls or Calls(),
            )
    except KeyboardInterrupt as error:
        raise Interrupted(_interrupted(out)) from error


def _resume(
    out: Path,
    reporter: Reporter,
    *,
    device: str | None,
    root: str | None,
    plugins: Sequence[str | Path] | None,
    module: nn.Module | None,
    calls: Calls,
) -> Result:
    settings = folder.read_settings(out)
    settings.run.out = str(out)
    settings.run.device = device or settings.run.device
    settings.run.root = root or settings.run.root
    # Read once in the main process: another process could see what this one is about to write.
    if processes.from_main((out / folder.METRICS).is_file):
        reporter.say(f"{out} holds a finished run: nothing to do")
        metrics = entries(read_json(out / folder.METRICS), str(out / folder.METRICS))
        checkpoints.check_format(out / folder.METRICS, metrics)
        result = Result(out, metrics)
        evaluation.show(result.folder, result.metrics, reporter)
        return result
    if plugins is None:
        trust.run_named(settings.run.plugins, out)
    else:
        settings.run.plugins = [str(path) for path in plugins]
        trust.run_given(plugins)
    # The folder names files, and nothing is written to what it names; the schema was saved when the run began.
    settings.data = {key: value for key, value in settings.data.items() if key not in file_digests.WRITTEN}
    picked = pick_device(settings.run.device)
    with deterministic(picked, tf32=settings.run.precision == "tf32"):
        if processes.is_main():
            folder.sweep(out)
        diverged_run.check(out, picked)
        started = processes.from_main((out / checkpoints.LAST).is_file)
        # A kill before the first epoch may have come before either file; without one there is nothing to go back to.
        begun = processes.from_main(lambda: (out / folder.CASE).is_file() and (out / folder.SPLITS).is_file())
        changed = processes.from_main(lambda: same_cases.changed_files(out, settings)) if begun else []
        with memory.guard("preparing", picked, _advice(settings)):
            try:
                parts = build(settings, picked, reporter, weights=not started, module=module)
            except (ValueError, OSError) as error:
                if not changed:
                    raise
                raise ValueError(f"{_other(out, changed)}: {error}") from error
            if started or begun:
                _check_same(out, parts, changed)
            training = prepare(parts, out, reporter)
            if started:
                training.restore()
        if started:
            reporter.say(f"continuing after epoch {training.progress.epoch} of {sum(training.epochs)}")
        elif not begun and processes.is_main():
            _write_case(out, parts)
        return _complete(parts, training, reporter, calls)


def _complete(parts: Parts, training: Training, reporter: Reporter, calls: Calls) -> Result:
    training.after_epoch = calls.epoch
    with calls.around(training.folder, parts.settings.to_dict()):
        result = _trained(parts, training, reporter)
        calls.metrics = result.metrics
    evaluation.show(result.folder, result.metrics, reporter)
    return result


def _trained(parts: Parts, training: Training, reporter: Reporter) -> Result:
    settings, device = parts.settings, parts.device
    try:
        with memory.guard("training", device, _advice(settings)):
            progress = training.run()
    except NonFiniteLoss as error:
        diverged_run.record(training.folder, error, device)
        raise
    except WriteError as error:
        raise WriteError(f"{error}; then continue with resume='{training.folder}'") from error
    accelerator = training.accelerator
    processes.wait()  # for the best weights, which the main one writes
    # Evaluated in float32, whatever the training's precision, as a predictor computes.
    model = accelerator.unwrap_model(parts.model, keep_fp32_wrapper=False)
    with memory.guard("evaluating", device, _advice(settings)), arithmetic(device):
        metrics = evaluation.write(parts, model, training.folder, progress, reporter)
    return Result(training.folder, processes.from_main(lambda: metrics))


def _advice(settings: Settings) -> str:
    return memory.advice(settings.train, settings.run.precision, settings.data.get("size"))


def _speaker(reporter: Reporter | None) -> Reporter:
    """The reporter of the main process; the others are silent."""
    return reporter if reporter is not None and processes.is_main() else Silent()


def _write_case(out: Path, parts: Parts) -> None:
    read = {**file_digests.recorded(parts.settings), file_digests.CASES: parts.survey.digests}
    write_json(out / folder.CASE, {**parts.case(), file_digests.CONTENT: read})
    write_text(out / folder.SPLITS, predictions.splits(parts.datasets).to_csv(index=False, lineterminator="\n"))


def _check_same(out: Path, parts: Parts, files: Sequence[str]) -> None:
    """Raise an error if the cases are not those that the run began with; nothing is written yet.

    Raises:
        ValueError: Naming all that is different.
    """
    changed = processes.from_main(
        lambda: same_cases.changed_cases(out, parts.datasets, parts.bundle.spec, parts.survey.digests)
    )
    if files or changed:
        raise ValueError(_other(out, [*files, *changed]))


def _other(out: Path, changed: Sequence[str]) -> str:
    return (
        f"the dataset is not the one that {out} began with; changed since then: {'; '.join(changed)}. Restore it "
        "(or give its folder by run.root), or start again with overwrite=True"
    )


def _interrupted(out: Path) -> str:
    if not (out / folder.SETTINGS).is_file():
        return "interrupted; nothing was written yet"
    if not (out / checkpoints.LAST).is_file():
        return f"interrupted before the end of the first epoch; start again with: mmfusion run --resume {out}"
    epoch = checkpoints.load(out / checkpoints.LAST)[1]["progress"]["epoch"]
    return f"interrupted after epoch {epoch}, saved in {out}; continue with: mmfusion run --resume {out}"
