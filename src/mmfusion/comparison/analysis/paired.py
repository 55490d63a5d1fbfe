"""Paired tests of methods against a reference, on their common cases and seeds.

On one test set the difference is the mean over the paired seeds, and its standard error has both sources of error:
other test cases, by a bootstrap of patients or lesions on which all runs have the same resamples, and other training
runs. Over several test sets, those of folds, it is the corrected resampled t-test of Nadeau and Bengio on one
difference per test set, the mean over its seeds; neither test nor interval under three sets.

One metric, named beforehand, carries the verdicts; all others have differences with intervals alone. A verdict needs
:data:`~mmfusion.metrics.two_sources.LEAST_SEEDS` pairs of runs: one pair compares two trained models. Runs have the
same test set only if their test cases are the same: a fold may have several test sets. The methods that are tested
together are one family of Holm's correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mmfusion.comparison.analysis.held_out import sizes
from mmfusion.comparison.analysis.resampling import Sampled
from mmfusion.comparison.analysis.results import SIGNIFICANCE, Caution, PairedTest
from mmfusion.comparison.analysis.scoring import FOLDS_NOT_SIZED
from mmfusion.metrics.classification import LOWER_IS_BETTER, WITHOUT_INTERVAL
from mmfusion.metrics.definitions import difference_range
from mmfusion.metrics.differences import LEAST_SPLITS, corrected_resampled_difference, detectable, equivalence, t_test
from mmfusion.metrics.paired_tests import holm
from mmfusion.metrics.ranks import rank_intervals
from mmfusion.metrics.two_sources import LEAST_SEEDS, resampled_error

CASES, BOTH, FOLDS = "cases", "cases and seeds", "corrected resampled t"


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
class Rules:
    """What the tests of a comparison have in common.

    Attributes:
        primary: The metric that carries the verdicts.
        level: Coverage of the intervals.
        margin: Difference of the primary metric within which methods count as equal; None: no test of it.
    """

    primary: str
    level: float
    margin: float | None = None


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
    methods: Sequence[Compared], reference: Compared, metrics: Sequence[str], rules: Rules
) -> tuple[list[PairedTest], list[Caution]]:
    """All tests against one reference.

    Args:
        methods: Without the reference.
        reference: Named before the results were seen.
        metrics: What is compared.
        rules: Primary metric, level and margin.

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
            _test(label, reference.label, pairs, metric, rules, set_sizes)
            for label, pairs in paired.items()
            if pairs and metric in pairs[0].method.raw and metric in pairs[0].reference.raw
        ]
        out += _with_verdicts(family, rules) if metric == rules.primary else family
    return out, cautions


def ranks(methods: Sequence[Compared], rules: Rules) -> dict[str, tuple[int, int]]:
    """Rank interval of each method by label, from the paired tests of every two; none where no pair may have a verdict.

    Args:
        methods: All that are ranked.
        rules: Primary metric, level and margin.
    """
    m, metric = len(methods), rules.primary
    set_sizes = sizes([run.judged.run for method in methods for run in method.runs])
    better, p = np.zeros((m, m)), np.full((m, m), np.nan)
    for i in range(m):
        for j in range(i):
            pairs, _ = _pairs(methods[i], methods[j])
            if pairs:
                test = _test(methods[i].label, methods[j].label, pairs, metric, rules, set_sizes)
                if not test.no_verdict:
                    sign = -1 if metric in LOWER_IS_BETTER else 1
                    better[i, j], better[j, i] = sign * test.difference, -sign * test.difference
                    p[i, j] = p[j, i] = test.p
    if not np.isfinite(p).any():
        return {}
    found = rank_intervals(better, p, level=1 - SIGNIFICANCE)
    return {method.label: (best, worst) for method, (best, worst) in zip(methods, found)}


def _pairs(method: Compared, reference: Compared) -> tuple[list[_Pair], list[Caution]]:
    cautions = []
    of_reference = {(run.judged.run.fold, run.judged.run.seed): run for run in reference.runs}
    of_method = {(run.judged.run.fold, run.judged.run.seed): run for run in method.runs}
    common = sorted(set(of_reference) & set(of_method))
    if not common:
        text = f"{method.label} has no seed and fold in common with {reference.label}: it is not tested against it."
        return [], [Caution("pairing", text)]
    if len(common) < max(len(of_reference), len(of_method)):
        cautions.append(
            Caution(
                "pairing",
                f"{method.label} and {reference.label} do not have the same seeds and folds: they are compared on the "
                f"{len(common)} that they have in common.",
            )
        )
    pairs = [_Pair(of_method[key], of_reference[key]) for key in common]
    same = [pair for pair in pairs if pair.method.judged.test_set == pair.reference.judged.test_set]
    if len(same) < len(pairs):
        cautions.append(
            Caution(
                "pairing",
                f"{method.label} and {reference.label} have different test cases in {len(pairs) - len(same)} of "
                f"{len(pairs)} pairs of runs, which are not compared.",
            )
        )
    return same, cautions


def _test(
    label: str,
    reference: str,
    pairs: Sequence[_Pair],
    metric: str,
    rules: Rules,
    set_sizes: tuple[float, float] | None,
) -> PairedTest:
    differences = np.array([pair.difference(metric) for pair in pairs])
    bounds = difference_range(metric, len(pairs[0].method.judged.run.classes))
    n_sets = len({pair.test_set for pair in pairs})
    kind = FOLDS if n_sets > 1 else BOTH if len(pairs) > 1 else CASES
    mean, unknown = float(differences.mean()), np.nan
    nothing = PairedTest(
        label, reference, metric, kind, len(pairs), mean, unknown, unknown, unknown, unknown, better=None
    )
    nothing = replace(nothing, no_verdict=_no_verdict(metric, rules.primary, len(pairs), n_sets))
    if not np.isfinite(differences).all():
        n = int((~np.isfinite(differences)).sum())
        return replace(nothing, reason=f"it is undefined in {n} of {len(pairs)} pairs of runs")
    if metric in WITHOUT_INTERVAL:
        return replace(nothing, reason="no interval of it covers what it should")
    if kind == FOLDS:
        return _over_folds(nothing, pairs, differences, rules, set_sizes, bounds)
    drawn = np.array([pair.method.raw[metric].drawn - pair.reference.raw[metric].drawn for pair in pairs])
    found = resampled_error(differences, drawn, pairs[0].method.judged.test_cases.n_groups - 1)
    error, degrees = float(found.error), float(found.degrees)
    test = t_test(nothing.difference, error, degrees, level=rules.level, bounds=bounds)
    reason = ""
    if not np.isfinite(error):
        one_group = pairs[0].method.judged.test_cases.n_groups < 2
        reason = "all cases are of one group" if one_group else "most resamples leave it undefined"
    p = np.nan if nothing.no_verdict else test.p
    return replace(nothing, low=test.low, high=test.high, p=p, reason=reason, error=error, degrees=degrees)


def _over_folds(
    nothing: PairedTest,
    pairs: Sequence[_Pair],
    differences: np.ndarray,
    rules: Rules,
    set_sizes: tuple[float, float] | None,
    bounds: tuple[float, float],
) -> PairedTest:
    of_pair = np.array([pair.test_set for pair in pairs])
    by_set = [float(differences[of_pair == test_set].mean()) for test_set in dict.fromkeys(of_pair.tolist())]
    if len(by_set) < LEAST_SPLITS:
        return replace(nothing, reason=f"{len(by_set)} folds are too few, an interval needs {LEAST_SPLITS}")
    if not differences.any():
        return replace(
            nothing, low=0.0, high=0.0, p=np.nan if nothing.no_verdict else 1.0, error=0.0, degrees=len(by_set) - 1.0
        )
    if set_sizes is None:
        return replace(nothing, reason=FOLDS_NOT_SIZED)
    n_train, n_test = set_sizes
    mean, low, high, p = corrected_resampled_difference(
        by_set, n_train=n_train, n_test=n_test, level=rules.level, bounds=bounds
    )
    if not np.isfinite(low):
        return replace(nothing, difference=mean, reason="all folds have the same difference")
    p = np.nan if nothing.no_verdict else p
    error = float(np.sqrt((1 / len(by_set) + n_test / n_train) * np.var(by_set, ddof=1)))
    return replace(nothing, difference=mean, low=low, high=high, p=p, error=error, degrees=len(by_set) - 1.0)


def _no_verdict(metric: str, primary: str, n_pairs: int, n_sets: int) -> str:
    """Why there is no verdict on methods; empty if there may be one."""
    if metric != primary:
        return "it is not the metric that was named for verdicts"
    if n_pairs == 1:
        return "one seed compares two trained models, not two methods"
    if n_pairs < LEAST_SEEDS:
        of = "seeds and folds" if n_sets > 1 else "seeds"
        return f"{n_pairs} {of} do not show how training runs vary, a verdict needs {LEAST_SEEDS}"
    return ""


def _with_verdicts(family: Sequence[PairedTest], rules: Rules) -> list[PairedTest]:
    """The tests with Holm's correction over those that may have a verdict, equivalence and detectable differences."""
    judged = np.array([not test.no_verdict for test in family], dtype=bool)
    lower = rules.primary in LOWER_IS_BETTER

    def corrected(p: Sequence[float]) -> list[float]:
        values: list[float] = holm(np.where(judged, p, np.nan)).tolist()
        return values

    p_holm = corrected([test.p for test in family])
    equal = [_equivalence(test, rules.margin, lower) for test in family]
    no_worse, equals = corrected([one[0] for one in equal]), corrected([one[1] for one in equal])
    n = int((judged & np.isfinite(p_holm)).sum()) or len(family)
    out = []
    for i, test in enumerate(family):
        better = None if not p_holm[i] < SIGNIFICANCE else (test.difference > 0) is not lower
        found = detectable(test.error, test.degrees, alpha=SIGNIFICANCE / n)
        verdict = replace(test, p_holm=p_holm[i], better=better, detectable=found)
        out.append(replace(verdict, p_no_worse=no_worse[i], p_equal=equals[i]))
    return out


def _equivalence(test: PairedTest, margin: float | None, lower: bool) -> tuple[float, float]:
    if margin is None:
        return np.nan, np.nan
    return equivalence(test.difference, test.error, test.degrees, margin, lower_is_better=lower)
