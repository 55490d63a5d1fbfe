"""Paired tests of every method against the reference, on their common cases and seeds.

===========================  ==========================================================================================
one test set                 a paired bootstrap of patients or lesions: the means over the seeds on the same resamples
... AUC of two classes       DeLong's test for one seed, if no patient has several cases
... accuracy                 McNemar's exact test likewise
several test sets: folds     the corrected resampled t-test of Nadeau and Bengio on one difference per test set, the
                             mean over its seeds, which share their cases; neither test nor interval under three sets
===========================  ==========================================================================================

Every test is of a difference of means over runs, never of an ensemble of them. Runs have the same test set only if
their test cases are the same: a fold may have several test sets. DeLong's and McNemar's tests assume independent
cases, so that patients with several cases need the bootstrap. All methods together are one family of Holm's
correction, per metric.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.analysis.held_out import sizes
from mmfusion.comparison.analysis.resampling import Sampled
from mmfusion.comparison.analysis.results import Caution, PairedTest
from mmfusion.metrics.classification import LOWER_IS_BETTER
from mmfusion.metrics.definitions import difference_range
from mmfusion.metrics.differences import LEAST_SPLITS, corrected_resampled_difference
from mmfusion.metrics.paired_tests import bootstrap_test, compare_auc, holm, mcnemar

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Compared:
    """A method to be tested, or the reference.

    Attributes:
        label: Its label.
        runs: All its runs.
    """

    label: str
    runs: Sequence[Sampled]


@dataclass(frozen=True)
class _Pair:
    method: Sampled
    reference: Sampled

    @property
    def test_set(self) -> str:
        return self.method.judged.test_set

    def difference(self, metric: str) -> float:
        return self.method.raw[metric].value - self.reference.raw[metric].value


def against(
    methods: Sequence[Compared], reference: Compared, metrics: Sequence[str], level: float
) -> tuple[list[PairedTest], list[Caution]]:
    """All tests against one reference.

    Args:
        methods: Without the reference.
        reference: Named before the results were seen.
        metrics: What is compared.
        level: Coverage of the intervals.

    Returns:
        The tests, by metric and then in the order of the methods, and cautions about the runs left out of them.
    """
    paired: dict[str, list[_Pair]] = {}
    cautions: list[Caution] = []
    for method in methods:
        paired[method.label], more = _pairs(method, reference)
        cautions += more
    set_sizes = sizes([run.judged.run for method in (*methods, reference) for run in method.runs])
    if set_sizes is None and any(len({pair.test_set for pair in pairs}) > 1 for pairs in paired.values()):
        cautions.append(
            Caution("missing", "No run recorded its number of training cases, so that folds cannot be tested together.")
        )
    out: list[PairedTest] = []
    for metric in metrics:
        family = [
            _test(label, reference.label, pairs, metric, level, set_sizes)
            for label, pairs in paired.items()
            if pairs and metric in pairs[0].method.raw and metric in pairs[0].reference.raw
        ]
        for test, corrected in zip(family, holm([test.p for test in family]).tolist()):
            out.append(replace(test, p_holm=corrected, better=_better(test, corrected)))
    return out, cautions


def _pairs(method: Compared, reference: Compared) -> tuple[list[_Pair], list[Caution]]:
    cautions = []
    of_reference = {(run.judged.run.fold, run.judged.run.seed): run for run in reference.runs}
    of_method = {(run.judged.run.fold, run.judged.run.seed): run for run in method.runs}
    common = sorted(set(of_reference) & set(of_method))
    if not common:
        text = f"{method.label} has no seed and fold in common with the reference {reference.label}: it is not tested."
        return [], [Caution("pairing", text)]
    if len(common) < max(len(of_reference), len(of_method)):
        cautions.append(
            Caution(
                "pairing",
                f"{method.label} and the reference {reference.label} do not have the same seeds and folds: they are "
                f"compared on the {len(common)} that they have in common.",
            )
        )
    pairs = [_Pair(of_method[key], of_reference[key]) for key in common]
    same = [pair for pair in pairs if pair.method.judged.test_set == pair.reference.judged.test_set]
    if len(same) < len(pairs):
        cautions.append(
            Caution(
                "pairing",
                f"{method.label} and the reference {reference.label} have different test cases in "
                f"{len(pairs) - len(same)} of {len(pairs)} pairs of runs, which are not compared.",
            )
        )
    return same, cautions


def _test(
    label: str, reference: str, pairs: Sequence[_Pair], metric: str, level: float, set_sizes: tuple[float, float] | None
) -> PairedTest:
    differences = np.array([pair.difference(metric) for pair in pairs])
    mean = float(differences.mean())
    test_sets = list(dict.fromkeys(pair.test_set for pair in pairs))
    first = pairs[0]
    cases, classes = first.method.judged.cases, first.method.judged.run.classes
    ours, theirs = (run.judged.cases.probabilities for run in (first.method, first.reference))
    # DeLong's and McNemar's tests are for single models and independent cases.
    single = len(pairs) == 1 and not cases.grouped
    undefined = not np.isfinite(differences).all()
    low, high, p, reason = np.nan, np.nan, np.nan, ""
    if len(test_sets) > 1:
        kind = "corrected resampled t"
        if undefined:
            pass
        elif len(test_sets) < LEAST_SPLITS:
            reason = f"{len(test_sets)} folds are too few, an interval needs {LEAST_SPLITS}"
        elif not differences.any():
            low, high, p = 0.0, 0.0, 1.0
        elif set_sizes is None:
            reason = "no run recorded its number of training cases"
        else:
            of_pair = np.array([pair.test_set for pair in pairs])
            mean, low, high, p = corrected_resampled_difference(
                [differences[of_pair == test_set].mean() for test_set in test_sets],
                n_train=set_sizes[0],
                n_test=set_sizes[1],
                level=level,
                bounds=difference_range(metric, len(classes)),
            )
            reason = "" if np.isfinite(low) else "all folds have the same difference"
    elif metric == "auc" and len(classes) == 2 and single and _enough(cases.labels):
        kind = "delong"
        mean, low, high, p = compare_auc(ours[:, 1], theirs[:, 1], cases.labels, level=level)
    elif metric == "accuracy" and single:
        kind, reason = "mcnemar", "McNemar's test has none"
        p = mcnemar(ours.argmax(axis=1), theirs.argmax(axis=1), cases.labels)
    else:
        kind = "bootstrap"
        drawn = np.mean([pair.method.raw[metric].drawn - pair.reference.raw[metric].drawn for pair in pairs], axis=0)
        if not undefined:
            low, high, p = bootstrap_test(drawn, level)
            reason = "" if np.isfinite(low) else "most resamples leave it undefined"
    if undefined:
        n = int((~np.isfinite(differences)).sum())
        reason = f"it is undefined in {n} of {len(pairs)} pairs of runs"
    return PairedTest(label, reference, metric, kind, len(pairs), mean, low, high, p, np.nan, None, reason)


def _enough(labels: NDArray[np.int64]) -> bool:
    return int(np.bincount(labels, minlength=2).min()) >= 2


def _better(test: PairedTest, corrected: float) -> bool | None:
    if not corrected < SIGNIFICANCE:
        return None
    return (test.difference > 0) is (test.metric not in LOWER_IS_BETTER)
