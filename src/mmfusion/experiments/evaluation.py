"""Evaluation of a trained model: predictions, metrics and their files."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmfusion.data.bundle import DataBundle
from mmfusion.data.cases import CaseDataset
from mmfusion.experiments import (
    environment,
    file_digests,
    folder,
    locked,
    predictions,
    reference_metrics,
    robustness,
    robustness_rows,
    run_report,
    training_curve,
)
from mmfusion.experiments.assembly import CHOSEN_ON_TEST, Parts, with_maps
from mmfusion.experiments.settings import Settings
from mmfusion.metrics.cases import one_per_group
from mmfusion.metrics.classification import EXTRA, n_not_finite, split_metric
from mmfusion.metrics.conformal import COVERAGE, calibration_scores, prediction_sets, set_coverage
from mmfusion.training import checkpoints, inference, optimizers, processes
from mmfusion.training.checkpoints import load_weights
from mmfusion.training.progress import Progress
from mmfusion.training.reporter import Reporter
from mmfusion.training.result_files import write_bytes, write_json, write_text
from mmfusion.utils.process_group import n_processes


def write(parts: Parts, model: nn.Module, out: Path, progress: Progress, reporter: Reporter) -> dict[str, Any]:
    """Evaluate the chosen weights and write everything; the metrics last, they mark the run as finished.

    All processes predict, the main one does the rest.
    """
    settings, bundle = parts.settings, parts.bundle
    weights, about = checkpoints.load(out / checkpoints.BEST)
    load_weights(model, weights, out / checkpoints.BEST)
    began = time.perf_counter()
    held_out = {"validation": bundle.validation} | ({"test": bundle.test} if settings.run.test else {})
    if bundle.calibration is not None and settings.run.test:
        held_out["calibration"] = bundle.calibration
    # A trial is judged by the maps that it was trained with, which a tested model's images are rounded otherwise than.
    read = {"validation": with_maps(parts, "validation", reporter)} if _by_maps(settings) else held_out
    with reporter.working("evaluating"):
        probabilities = {
            name: inference.Evaluation(
                dataset,
                parts.target,
                settings.train.eval_batch_size,
                workers=settings.train.workers,
                device=parts.device,
            ).probabilities(model)
            for name, dataset in read.items()
        }
        if not processes.is_main():
            return {}
        throughput = sum(len(dataset) for dataset in held_out.values()) / (time.perf_counter() - began)
        frame = predictions.join(
            held_out, probabilities, parts.target, parts.kind, seed=settings.run.seed, fold=bundle.fold
        )
        labels = {name: dataset.labels(parts.target).numpy() for name, dataset in held_out.items()}
        summary = run_report.summarize(
            {name: p for name, p in probabilities.items() if name != "calibration"},
            labels,
            {name: dataset.groups for name, dataset in held_out.items()},
            names=predictions.class_names(parts.kind),
            ceilings=bundle.ceilings,
            resamples=settings.train.resamples,
            seed=settings.run.seed,
            threshold=settings.train.threshold,
            extra=[name for name in split_metric(settings.train.metric) if name in EXTRA],
        )
    scores = _scores(probabilities, labels, bundle)
    if scores:
        names = predictions.class_names(parts.kind)
        summary["conformal"] = {"coverage": COVERAGE, "calibration": dict(zip(names, map(len, scores)))}
        if not n_not_finite(probabilities["test"]):
            sets = prediction_sets(probabilities["test"], scores)
            covered = set_coverage(sets, labels["test"], bundle.test.groups, names)
            summary["conformal"]["test"] = covered.to_dict()
    # Needed by tests over several folds, where only the metrics are kept.
    summary["cases"]["train"] = len(bundle.train)
    if bundle.calibration is not None:
        summary["cases"]["calibration"] = len(bundle.calibration)
    # Before the robustness evaluation, which is no part of a run's cost.
    cost = _cost(parts, model, progress, throughput)
    robustness_table = references = None
    if settings.run.test and settings.run.robustness:
        robustness_table = _robustness(parts, model, probabilities["test"], reporter)
    if settings.run.test and settings.run.references:
        references = reference_metrics.reference_metrics(parts, reporter)
    metrics = {
        "format": checkpoints.FORMAT,
        "model": settings.run.model,
        "dataset": settings.run.dataset,
        "seed": settings.run.seed,
        "fold": bundle.fold,
        "preset": settings.run.preset,
        "chosen": {key: about[key] for key in ("epoch", "metric", "value")},
        **summary,
        **({} if references is None else {"references": references}),
        **({} if robustness_table is None else {"robustness": robustness_rows.summary(robustness_table)}),
        # As recorded at the start: the files may have changed since.
        **{key: value for key, value in folder.read_case(out).items() if key == file_digests.CONTENT},
        **({"absent_images": parts.survey.absent} if parts.survey.absent else {}),
        "notes": list(bundle.notes),
        "cost": cost,
    }
    write_json(out / folder.HISTORY, progress.history)
    write_json(out / folder.ENVIRONMENT, {**environment.describe(parts.device), **cost})
    write_text(out / folder.PREDICTIONS, frame.to_csv(index=False, lineterminator="\n"))
    write_bytes(
        out / folder.CURVE,
        training_curve.draw(progress.history, settings.train.metric, progress.best_epoch, run_report.title(metrics)),
    )
    subgroups = predictions.subgroups(held_out, bundle.subgroups)
    if subgroups is not None:
        write_text(out / folder.SUBGROUPS, subgroups.to_csv(index=False, lineterminator="\n"))
    if robustness_table is not None:
        write_json(out / folder.ROBUSTNESS, {"format": robustness_rows.FORMAT, "rows": robustness_table})
    write_json(out / folder.LOCKED, replace(locked.of_metrics(metrics), scores=scores).to_dict())
    write_json(out / folder.METRICS, metrics)
    return metrics


def _scores(
    probabilities: Mapping[str, NDArray[np.float64]], labels: Mapping[str, NDArray[np.int64]], bundle: DataBundle
) -> tuple[tuple[float, ...], ...]:
    """Conformal scores of one calibration case per group; none without such cases, or if an output is not finite."""
    p = probabilities.get("calibration")
    if p is None or bundle.calibration is None or n_not_finite(p):
        return ()
    rows = one_per_group(bundle.calibration.groups)
    return calibration_scores(p[rows], labels["calibration"][rows])


def show(out: Path, metrics: Mapping[str, Any], reporter: Reporter) -> None:
    """Show the results of a finished run and the path of its folder."""
    reporter.show(run_report.table(metrics))
    if metrics.get("references"):
        reporter.show(run_report.reference_table(metrics))
    for sentence in run_report.sentences(metrics):
        reporter.say(sentence)
    cost, chosen = metrics["cost"], metrics["chosen"]
    part = "test" if CHOSEN_ON_TEST in metrics["notes"] else "validation"
    why = f"chosen by {part} {chosen['metric']}"
    if chosen["value"] is None:
        why = f"kept, but not chosen: {part} {chosen['metric']} is undefined in every epoch"
    reporter.say(
        f"Epoch {chosen['epoch']} of {cost['epochs']} {why}; training took "
        f"{cost['seconds']:.0f} s, {cost['train_cases_per_second']:.0f} cases/s, "
        f"{cost['share_waiting_for_data']:.1%} of it waiting for data."
    )
    reporter.say(f"The results are in {out}")


def _by_maps(settings: Settings) -> bool:
    return settings.train.precompute and not settings.run.test


def _robustness(parts: Parts, model: nn.Module, known: NDArray[np.float64], reporter: Reporter) -> list[dict[str, Any]]:
    settings, test = parts.settings, parts.bundle.test
    cases: CaseDataset = test
    base: NDArray[np.float64] | None = known
    if settings.train.precompute:
        try:
            # Rounded otherwise than the images' own passes: the cases as they are go through them too.
            cases, base = with_maps(parts, "test", reporter), None
        except OSError as error:
            # A trained model's results do not depend on room for its maps.
            reporter.say(f"the test set's maps are not cached: {error}")
    with reporter.bar("evaluating with missing and exchanged inputs", len(cases)) as bar:
        outputs = robustness.predict(
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
        return robustness_rows.rows(outputs, test.labels(parts.target).numpy(), test.groups, seed=settings.run.seed)


def _cost(parts: Parts, model: nn.Module, progress: Progress, throughput: float) -> dict[str, Any]:
    history = progress.history
    seconds = sum(entry["train_seconds"] for entry in history)
    cases = parts.bundle.test if parts.settings.run.test else parts.bundle.validation
    first_case = next(iter(inference.in_order(cases, 1, workers=0, device=parts.device)))
    return {
        "parameters": optimizers.n_parameters(model),
        "flops_per_case": environment.flops(model, inference.move(first_case.inputs, parts.device)),
        "precision": parts.settings.run.precision,
        "processes": n_processes(),
        "epochs": progress.epoch,
        "seconds": sum(entry["seconds"] for entry in history),
        "train_cases_per_second": sum(entry["cases"] for entry in history) / seconds,
        "inference_cases_per_second": throughput,
        "share_waiting_for_data": sum(entry["wait_seconds"] for entry in history) / seconds,
        "peak_memory_bytes": environment.peak_memory(parts.device),
    }
