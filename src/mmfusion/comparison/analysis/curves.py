"""ROC, precision-recall, reliability and decision curves of a method, with bands, on grids that all methods share."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mmfusion.comparison.analysis.curve_data import Confusion, Curve, Curves
from mmfusion.comparison.analysis.resampling import Sampled
from mmfusion.metrics.calibration_error import ECE_BINS, CalibrationError, confidence_bins
from mmfusion.metrics.curves import GRID, pointwise_band, precision_recall_curve, roc_curve
from mmfusion.metrics.decision import THRESHOLDS, net_benefit
from mmfusion.metrics.ranking import Floats, divide
from mmfusion.metrics.two_sources import two_source_error
from mmfusion.metrics.weighted import mean_defined
from mmfusion.utils.optional import need

MACRO = "macro"
LIKELIEST = "likeliest"


def curves(runs: Sequence[Sampled], level: float) -> Curves:
    """All curves of a method.

    ROC and precision-recall curves are means over the runs at each place of the grid; reliability curves pool the
    runs' cases in each bin. The bands come from the first resamples of the bootstrap; those of several runs are widened
    by the variance between these.

    Args:
        runs: Of one method.
        level: Coverage of the bands, at each place by itself.
    """
    names = runs[0].judged.run.classes
    of = [1] if len(names) == 2 else list(range(len(names)))
    scaled = [run.judged.scaled for run in runs]
    known = [p for p in scaled if p is not None]
    return Curves(
        _averaged(runs, names, of, roc_curve, level),
        _averaged(runs, names, of, precision_recall_curve, level),
        _reliability(runs, [run.judged.cases.probabilities for run in runs], names, of, level),
        _reliability(runs, known, names, of, level) if len(known) == len(runs) else (),
        _net_benefit(runs, names, of, level),
    )


def confusion(runs: Sequence[Sampled]) -> Confusion:
    """Truth against the likeliest class, mean over the runs."""
    k = len(runs[0].judged.run.classes)
    cells = [run.judged.cases.labels * k + run.judged.cases.probabilities.argmax(axis=1) for run in runs]
    counts = np.mean([np.bincount(cell, minlength=k * k).reshape(k, k) for cell in cells], axis=0)
    return Confusion(counts, divide(counts, counts.sum(axis=1, keepdims=True)))


def _net_benefit(runs: Sequence[Sampled], names: Sequence[str], of: Sequence[int], level: float) -> tuple[Curve, ...]:
    """One per class: of a mean over classes nobody decides anything."""
    out = []
    for c in of:
        n_drawn = 1 + min(run.weights.shape[1] for run in runs)
        each = np.stack([net_benefit(*_of_class(run, c))[:n_drawn] for run in runs])
        mean = mean_defined(np.moveaxis(each, 0, -1))
        band = _band(mean, each, runs[0].judged.test_cases.n_groups, level, span=(-np.inf, 1.0))
        out.append(Curve(names[c], THRESHOLDS, mean[0], *band, area=np.nan))
    return tuple(out)


def _of_class(run: Sampled, c: int) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Probabilities of a class, whether the cases are of it, and the weights: the cases as they are, then resamples."""
    cases = run.judged.cases
    return cases.probabilities[:, c], cases.labels == c, np.concatenate([np.ones((len(cases), 1)), run.weights], axis=1)


def _averaged(
    runs: Sequence[Sampled],
    names: Sequence[str],
    of: Sequence[int],
    curve: Callable[[Floats, NDArray[np.bool_], Floats], tuple[Floats, float]],
    level: float,
) -> tuple[Curve, ...]:
    # By class, run and resample; the first resample is the cases as they are.
    drawn = np.empty((len(of), len(runs), 1 + min(run.weights.shape[1] for run in runs), len(GRID)))
    areas = np.empty((len(of), len(runs)))
    for i, c in enumerate(of):
        for j, run in enumerate(runs):
            p, truth, weights = _of_class(run, c)
            drawn[i, j], areas[i, j] = curve(p, truth, weights[:, : drawn.shape[2]])
    by_class = mean_defined(np.moveaxis(drawn, 1, -1))
    rows = [(names[c], by_class[i], areas[i]) for i, c in enumerate(of)]
    if len(of) > 1:
        rows.append((MACRO, mean_defined(np.moveaxis(by_class, 0, -1)), mean_defined(areas.T)))
    groups = runs[0].judged.test_cases.n_groups
    every = [*drawn, mean_defined(np.moveaxis(drawn, 0, -1))] if len(of) > 1 else list(drawn)
    return tuple(
        Curve(name, GRID, values[0], *_band(values, each, groups, level), area=float(mean_defined(area)))
        for (name, values, area), each in zip(rows, every)
    )


def _band(
    mean: Floats, each: Floats, n_groups: int, level: float, span: tuple[float, float] = (0.0, 1.0)
) -> tuple[Floats, Floats]:
    """Pointwise band of a mean curve: percentiles of its resamples, widened by what the training runs add.

    Args:
        mean: Shape ``(1 + r, g)``, the curve and its resamples.
        each: Shape ``(runs, 1 + r, g)``, those of each run.
        n_groups: Groups of test cases.
        level: Coverage at each place.
        span: Ends of the curve's range.
    """
    low, high = pointwise_band(mean[1:], level)
    if len(each) < 2:
        return low, high
    whole = np.isfinite(each).all(axis=(0, 1))
    of_mean = np.where(whole, np.where(whole, mean[1:], 0.0).var(axis=0, ddof=1), 0.0)
    of_single = np.where(whole, np.where(whole, each[:, 1:], 0.0).var(axis=1, ddof=1).mean(axis=0), 0.0)
    found = two_source_error(np.where(whole, each[:, 0], 0.0), of_mean, of_single, float(max(n_groups - 1, 1)))
    student = need("scipy.stats", "bench").t.ppf((1 + level) / 2, found.degrees)
    normal = need("scipy.stats", "bench").norm.ppf((1 + level) / 2)
    factor = divide(student * found.error, normal * found.cases)
    factor = np.where(np.isfinite(factor), np.maximum(factor, 1.0), 1.0)
    # A place whose resamples do not vary has the training runs alone.
    reach = np.where(found.cases > 0, 0.0, np.nan_to_num(student * found.error))
    middle = mean[0]
    return (
        np.clip(middle - (middle - low) * factor - reach, *span),
        np.clip(middle + (high - middle) * factor + reach, *span),
    )


def _reliability(
    runs: Sequence[Sampled], probabilities: Sequence[Floats], names: Sequence[str], of: Sequence[int], level: float
) -> tuple[Curve, ...]:
    labels = [run.judged.cases.labels for run in runs]
    targets: list[tuple[str, list[tuple[Floats, NDArray[np.bool_]]]]] = [
        (names[c], [(p[:, c], y == c) for p, y in zip(probabilities, labels)]) for c in of
    ]
    if len(of) > 1:
        likeliest = [(p.max(axis=1), p.argmax(axis=1) == y) for p, y in zip(probabilities, labels)]
        targets.append((LIKELIEST, likeliest))
    n_drawn = min(run.weights.shape[1] for run in runs)
    out = []
    for name, of_runs in targets:
        # Sums of the bins over the runs: cases, probability, truth; the first resample is the cases as they are.
        pooled, gaps = np.zeros((3, ECE_BINS, 1 + n_drawn)), []
        counted: list[Floats] = []
        shares: list[Floats] = []
        for run, (p, truth) in zip(runs, of_runs):
            weights = np.concatenate([np.ones((len(p), 1)), run.weights[:, :n_drawn]], axis=1)
            member = np.eye(ECE_BINS)[confidence_bins(p)].T
            sums = np.stack([member @ weights, (member * p) @ weights, (member * truth) @ weights])
            pooled += sums
            counted.append(sums[0].T)
            shares.append(divide(sums[2], sums[0]).T)
            gaps.append(float(CalibrationError(p, truth)(np.ones((len(p), 1)))[0]))
        x, y = divide(pooled[1, :, 0], pooled[0, :, 0]), divide(pooled[2], pooled[0]).T
        middle = (np.arange(ECE_BINS) + 0.5) / ECE_BINS
        share = pooled[0, :, 0] / pooled[0, :, 0].sum()
        # What each run adds to the pooled share, so that the mean over the runs is the share.
        weight = divide(np.array(counted), np.mean(counted, axis=0))
        each = y[0] + weight * (np.array(shares) - y[0])
        band = _band(y, each, runs[0].judged.test_cases.n_groups, level)
        out.append(Curve(name, np.where(np.isnan(x), middle, x), y[0], *band, area=float(np.mean(gaps)), share=share))
    return tuple(out)
