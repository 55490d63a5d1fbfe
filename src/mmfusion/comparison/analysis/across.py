"""The methods of several comparisons, over their datasets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmfusion.comparison.analysis.results import Comparison, Method
from mmfusion.metrics.classification import LOWER_IS_BETTER
from mmfusion.metrics.several_datasets import SignedRank, critical_difference, ranks_within, signed_rank

ENOUGH = 8
"""Datasets from which on the tests are more than descriptions."""


@dataclass(frozen=True)
class Standing:
    """A method over the datasets.

    Attributes:
        label: Its label, the same in all of them.
        scores: Its mean of the metric on each dataset.
        ranks: Its rank on each dataset, among the methods that all datasets have.
        rank: Mean of the ranks.
        difference: Mean over the datasets of its difference to the reference, positive where it is better; NaN for the
            reference and without one.
        against: Bayesian signed-rank test against the reference; None for the reference, and without one or a margin.
    """

    label: str
    scores: tuple[float, ...]
    ranks: tuple[float, ...]
    rank: float
    difference: float
    against: SignedRank | None


@dataclass(frozen=True)
class AcrossDatasets:
    """Comparisons of the same methods on different datasets.

    Attributes:
        metric: The metric that ranks.
        datasets: Names of the comparisons, one per dataset.
        left_out: Names of the other comparisons, each with the reason.
        only_some: Labels of methods that some of the datasets lack.
        methods: The methods that all of them have, the best mean rank first.
        reference: The method that the others are compared with; None if it is not among them.
        margin: Difference within which methods count as equal; None: no test.
        critical_difference: Smallest significant difference of two mean ranks.
        level: 1 less its family-wise error.
    """

    metric: str
    datasets: tuple[str, ...]
    left_out: Mapping[str, str]
    only_some: tuple[str, ...]
    methods: tuple[Standing, ...]
    reference: str | None
    margin: float | None
    critical_difference: float
    level: float


def across_datasets(comparisons: Sequence[Comparison], level: float) -> AcrossDatasets | None:
    """Mean ranks over the datasets that have one comparison each.

    Ablations and the rows that were fitted to tables or embeddings are not ranked.

    Args:
        comparisons: Ranked by one metric.
        level: 1 less the family-wise error of the critical difference.

    Returns:
        None unless two datasets have two methods in common.
    """
    counts = Counter(comparison.dataset for comparison in comparisons)
    chosen = [comparison for comparison in comparisons if counts[comparison.dataset] == 1]
    if len(chosen) < 2:
        return None
    metric = chosen[0].metrics[0]
    means = [_means(comparison, metric) for comparison in chosen]
    labels = [label for label in means[0] if all(label in of_dataset for of_dataset in means)]
    if len(labels) < 2:
        return None
    scores = np.array([[of_dataset[label] for label in labels] for of_dataset in means])
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    ranks = ranks_within(scores, lower_is_better=sign < 0)
    references = {comparison.reference for comparison in chosen}
    reference = references.pop() if len(references) == 1 else None
    reference = reference if reference in labels else None
    margin = chosen[0].margin
    standings = []
    for number, label in enumerate(labels):
        difference, against = np.nan, None
        if reference is not None and label != reference:
            differences = sign * (scores[:, number] - scores[:, labels.index(reference)])
            difference = float(differences.mean())
            against = None if margin is None else signed_rank(differences, margin)
        own = ranks[:, number]
        standings.append(
            Standing(
                label, tuple(scores[:, number].tolist()), tuple(own.tolist()), float(own.mean()), difference, against
            )
        )
    everywhere = set(labels)
    return AcrossDatasets(
        metric=metric,
        datasets=tuple(comparison.name for comparison in chosen),
        left_out={
            comparison.name: f"its dataset, {comparison.dataset}, has {counts[comparison.dataset]} comparisons"
            for comparison in comparisons
            if counts[comparison.dataset] > 1
        },
        only_some=tuple(dict.fromkeys(label for found in means for label in found if label not in everywhere)),
        methods=tuple(sorted(standings, key=lambda standing: standing.rank)),
        reference=reference,
        margin=margin,
        critical_difference=critical_difference(len(labels), len(chosen), level=level),
        level=level,
    )


def _means(comparison: Comparison, metric: str) -> dict[str, float]:
    def counts(method: Method) -> bool:
        return method.whole is None and not method.is_row and bool(np.isfinite(method.scores[metric].mean))

    return {method.label: method.scores[metric].mean for method in comparison.methods if counts(method)}
