"""Every method against the reference, on the cases and seeds that both have.

===========================  ==========================================================================================
one test part                a paired bootstrap of patients or lesions: the means over the seeds on the same resamples
... AUC of two classes       DeLong's test where there is one seed and no patient has several cases
... accuracy                 McNemar's exact test where no patient has several cases: of the class that is likeliest by
                             the mean probability of the seeds
several folds                the corrected resampled t-test of Nadeau and Bengio on one difference a fold, the mean over
                             its seeds, which share their cases
===========================  ==========================================================================================

Both DeLong's and McNemar's test take cases to be independent, so that patients with several cases need the bootstrap.
For one metric, all methods together are one family of Holm's correction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mmfusion.benchmark.analysis.resampling import Sampled, interval
from mmfusion.benchmark.analysis.results import Caution, PairedTest
from mmfusion.training.comparison import compare_auc, holm, mcnemar
from mmfusion.training.metrics import LOWER_IS_BETTER
from mmfusion.training.ranking import Floats
from mmfusion.training.statistics import corrected_resampled_difference

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
    def fold(self) -> int:
        return self.one.judged.run.fold


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
    sizes = _sizes([run for method in (*methods, reference) for run in method.runs])
    if sizes is None and any(len({pair.fold for pair in pairs}) > 1 for pairs in paired.values()):
        cautions.append(
            Caution("missing", "No run says how many training cases it had, so that folds cannot be tested together.")
        )
    out: list[PairedTest] = []
    for metric in metrics:
        own = [
            _test(label, reference.label, pairs, metric, level, sizes)
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
    label: str, reference: str, pairs: Sequence[_Pair], metric: str, level: float, sizes: tuple[float, float] | None
) -> PairedTest:
    differences = np.array([pair.one.raw[metric].value - pair.other.raw[metric].value for pair in pairs])
    mean = float(differences.mean())
    folds = sorted({pair.fold for pair in pairs})
    cases, classes = pairs[0].one.judged.cases, pairs[0].one.judged.run.classes
    undefined = not np.isfinite(differences).all()
    low, high, p = np.nan, np.nan, np.nan
    if len(folds) > 1:
        kind = "corrected resampled t"
        if not differences.any():
            low, high, p = 0.0, 0.0, 1.0
        elif sizes is not None and not undefined:
            by_fold = [np.mean([d for d, pair in zip(differences, pairs) if pair.fold == fold]) for fold in folds]
            found = corrected_resampled_difference(by_fold, n_train=sizes[0], n_test=sizes[1], level=level)
            mean, low, high, p = found
    elif metric == "auc" and len(classes) == 2 and len(pairs) == 1 and not cases.grouped and _enough(cases.labels):
        kind = "delong"
        one, other = (run.judged.cases.probabilities[:, 1] for run in (pairs[0].one, pairs[0].other))
        mean, low, high, p = compare_auc(one, other, cases.labels, level=level)
    elif metric == "accuracy" and not cases.grouped:
        kind = "mcnemar"
        votes = _vote([pair.one for pair in pairs]), _vote([pair.other for pair in pairs])
        right = [float((vote == cases.labels).mean()) for vote in votes]
        mean, p = right[0] - right[1], mcnemar(votes[0], votes[1], cases.labels)
    else:
        kind = "bootstrap"
        drawn = np.mean([pair.one.raw[metric].drawn - pair.other.raw[metric].drawn for pair in pairs], axis=0)
        if not undefined:
            low, high, p = _of_bootstrap(drawn, level)
    return PairedTest(label, reference, metric, kind, len(pairs), mean, low, high, p, np.nan, None)


def _vote(runs: Sequence[Sampled]) -> NDArray[np.intp]:
    votes: NDArray[np.intp] = np.mean([run.judged.cases.probabilities for run in runs], axis=0).argmax(axis=1)
    return votes


def _enough(labels: NDArray[np.int64]) -> bool:
    return int(np.bincount(labels, minlength=2).min()) >= 2


def _of_bootstrap(drawn: Floats, level: float) -> tuple[float, float, float]:
    """The interval, and twice the smaller share of resamples on one side of 0."""
    defined = drawn[np.isfinite(drawn)]
    if not len(defined):
        return np.nan, np.nan, np.nan
    low, high, _ = interval(drawn, level)
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return low, high, min(1.0, 2 * (tail + 1) / (len(defined) + 1))


def _sizes(runs: Sequence[Sampled]) -> tuple[float, float] | None:
    """Mean cases of a training and of a test part; from the folds where no run says it."""
    n_test = float(np.mean([len(run.judged.cases) for run in runs]))
    known = [run.judged.run.n_train for run in runs if run.judged.run.n_train]
    if known:
        return float(np.mean(known)), n_test
    of_fold = {run.judged.run.fold: set(run.judged.cases.ids.tolist()) for run in runs}
    held_out = [n for run in runs if (n := n_validation(run)) is not None]
    everybody = set().union(*of_fold.values())
    # Test parts that do not overlap and together are the dataset, as those of folds are.
    if len(of_fold) < 2 or not held_out or len(everybody) < sum(map(len, of_fold.values())):
        return None
    n_train = len(everybody) - n_test - float(np.mean(held_out))
    return (n_train, n_test) if n_train > 0 else None


def n_validation(run: Sampled) -> int | None:
    """Cases that a run's choices were made on."""
    finished = run.judged.run
    if finished.validation is not None:
        return len(finished.validation)
    cases = finished.metrics.get("cases")
    found = cases.get("validation") if isinstance(cases, Mapping) else None
    return found if isinstance(found, int) else None


def _better(test: PairedTest, corrected: float) -> bool | None:
    if not corrected < SIGNIFICANCE:
        return None
    return (test.difference > 0) is (test.metric not in LOWER_IS_BETTER)
