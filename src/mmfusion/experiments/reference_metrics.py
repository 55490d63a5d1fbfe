"""Metrics of scikit-learn's reference models on a run's table and test set."""

from typing import Any

from mmfusion.experiments import predictions
from mmfusion.experiments.assembly import Parts
from mmfusion.experiments.reference_models import reference_probabilities
from mmfusion.metrics.classification import EXTRA, best_threshold, split_metric
from mmfusion.metrics.intervals import estimates
from mmfusion.training.reporter import Reporter


def reference_metrics(parts: Parts, reporter: Reporter) -> dict[str, dict[str, Any]] | None:
    """Fit the reference rows on the run's training set and evaluate them on its test set.

    Args:
        parts: The run's; its dataset has a validation set, which the thresholds of two classes are chosen on.
        reporter: Receives the reason where there can be no reference rows.

    Returns:
        By name of the reference and metric: ``value``, ``low``, ``high`` and ``error``, as in ``metrics.json``. None if
        the dataset has no table, or the rows cannot be fitted.
    """
    settings, bundle = parts.settings, parts.bundle
    if not bundle.spec.tables:
        return None
    held_out = {"validation": bundle.validation, "test": bundle.test}
    labels = {name: dataset.labels(parts.target).numpy() for name, dataset in held_out.items()}
    try:
        with reporter.working("fitting scikit-learn's reference rows on the table"):
            probabilities = reference_probabilities(
                bundle.train, held_out, parts.target, parts.kind, seed=settings.run.seed
            )
    except (ValueError, ImportError) as error:
        reporter.say(f"No reference rows on the table: {' '.join(str(error).split())}")
        return None
    references: dict[str, dict[str, Any]] = {}
    for name, by_part in probabilities.items():
        threshold = settings.train.threshold
        if threshold is None:
            threshold = best_threshold(by_part["validation"], labels["validation"]) if parts.kind.n == 2 else 0.5
        metrics = estimates(
            by_part["test"],
            labels["test"],
            bundle.test.groups,
            threshold=threshold,
            names=predictions.class_names(parts.kind),
            extra=[metric for metric in split_metric(settings.train.metric) if metric in EXTRA],
            n_resamples=settings.train.resamples,
            seed=settings.run.seed,
        )
        references[name] = {metric: value.to_dict() for metric, value in metrics.items()}
    return references
