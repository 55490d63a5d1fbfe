"""Every method against the reference, on the cases and seeds that both have.

===========================  ==========================================================================================
one test part                a paired bootstrap of patients or lesions: the means over the seeds on the same resamples
... AUC of two classes       DeLong's test where there is one seed and no patient has several cases
... accuracy                 McNemar's exact test likewise
several test parts: folds    the corrected resampled t-test of Nadeau and Bengio on one difference a part, the mean over
                             its seeds, which share their cases; fewer than three parts have neither test nor interval
===========================  ==========================================================================================

Every test is of the difference beside it, one of means over runs, never of what an ensemble of them would say. Runs are
of one test part only if their test cases are the same: a fold may have several.
Both DeLong's and McNemar's test take cases to be independent, so that patients with several cases need the bootstrap.
For one metric, all methods together are one family of Holm's correction.
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
from mmfusion.metrics.intervals import LEAST_SPLITS, corrected_resampled_difference
from mmfusion.metrics.paired_tests import bootstrap_test, compare_auc, holm, mcnemar

SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class Compared:
    """A method for a test.

    Attributes:
        label: Its label.
        runs: All its runs.
    """

    label: str
    runs: Sequence[Sampled]


@dataclass(frozen=True)
class _Pair:
    one: Sampled
    other: Sampled

    @property
    def part(self) -> str:
        return self.one.judged.part


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
        The tests, by metric and then in the order of the methods, and what had to be left out of them.
    """
    paired: dict[str, list[_Pair]] = {}
    cautions: list[Caution] = []
    for method in methods:
        paired[method.label], found = _pairs(method, reference)
        cautions += found
    of_parts = sizes([run.judged.run for method in (*methods, reference) for run in method.runs])
    if of_parts is None and any(len({pair.part for pair in pairs}) > 1 for pairs in paired.values()):
        cautions.append(
            Caution("missing", "No run says how many training cases it had, so that folds cannot be tested together.")
        )
    out: list[PairedTest] = []
    for metric in metrics:
        own = [
            _test(label, reference.label, pairs, metric, level, of_parts)
            for label, pairs in paired.items()
            if pairs and metric in pairs[0].one.raw and metric in pairs[0].other.raw
        ]
        for test, corrected in zip(own, holm([test.p for test in own]).tolist()):
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
                f"compared on the {len(common)} that both have.",
            )
        )
    pairs = [_Pair(of_method[key], of_reference[key]) for key in common]
    same = [pair for pair in pairs if pair.one.judged.part == pair.other.judged.part]
    if len(same) < len(pairs):
        cautions.append(
            Caution(
                "pairing",
                f"{method.label} and the reference {reference.label} have other test cases in "
                f"{len(pairs) - len(same)} of {len(pairs)} pairs of runs, which are not compared.",
            )
        )
    return same, cautions


def _test(
    label: str, reference: str, pairs: Sequence[_Pair], metric: str, level: float, of_parts: tuple[float, float] | None
) -> PairedTest:
    differences = np.array([pair.one.raw[metric].value - pair.other.raw[metric].value for pair in pairs])
    mean = float(differences.mean())
    parts = list(dict.fromkeys(pair.part for pair in pairs))
    cases, classes = pairs[0].one.judged.cases, pairs[0].one.judged.run.classes
    one, other = (run.judged.cases.probabilities for run in (pairs[0].one, pairs[0].other))
    # DeLong's and McNemar's tests know single models and independent cases alone.
    single = len(pairs) == 1 and not cases.grouped
    undefined = not np.isfinite(differences).all()
    low, high, p, reason = np.nan, np.nan, np.nan, ""
    if len(parts) > 1:
        kind = "corrected resampled t"
        if undefined:
            pass
        elif len(parts) < LEAST_SPLITS:
            reason = f"{len(parts)} folds are too few, an interval needs {LEAST_SPLITS}"
        elif not differences.any():
            low, high, p = 0.0, 0.0, 1.0
        elif of_parts is None:
            reason = "no run says how many training cases it had"
        else:
            by_part = [np.mean([d for d, pair in zip(differences, pairs) if pair.part == part]) for part in parts]
            found = corrected_resampled_difference(
                by_part,
                n_train=of_parts[0],
                n_test=of_parts[1],
                level=level,
                bounds=difference_range(metric, len(classes)),
            )
            mean, low, high, p = found
            reason = "" if np.isfinite(low) else "all folds have the same difference"
    elif metric == "auc" and len(classes) == 2 and single and _enough(cases.labels):
        kind = "delong"
        mean, low, high, p = compare_auc(one[:, 1], other[:, 1], cases.labels, level=level)
    elif metric == "accuracy" and single:
        kind, reason = "mcnemar", "McNemar's test has none"
        p = mcnemar(one.argmax(axis=1), other.argmax(axis=1), cases.labels)
    else:
        kind = "bootstrap"
        drawn = np.mean([pair.one.raw[metric].drawn - pair.other.raw[metric].drawn for pair in pairs], axis=0)
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
