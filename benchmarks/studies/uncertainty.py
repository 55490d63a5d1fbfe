"""What the statistics of a comparison do where the truth is known: type I and family-wise error, power, coverage.

python benchmarks/studies/uncertainty.py --out benchmarks/studies/uncertainty.csv

Scores are normal, of two classes. A case has a part that all methods share (half of the variance), one of the method
(a fifth) and one of the training run (the rest); a training run moves the separation of the classes, so that the
population AUC of the runs of a method has the stated standard deviation. Every number comes from the functions that the
report calls. ``--simulations`` is a factor on the number of simulated test sets of each row.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from mmfusion.metrics.bootstrap import resample
from mmfusion.metrics.calibration_error import CalibrationError
from mmfusion.metrics.cases import TestCases
from mmfusion.metrics.classification import Prepared
from mmfusion.metrics.definitions import keeping_classes
from mmfusion.metrics.differences import t_test
from mmfusion.metrics.paired_tests import holm
from mmfusion.metrics.score_intervals import score_interval
from mmfusion.metrics.two_sources import case_variances, resampled_error
from mmfusion.metrics.weighted import Ranks

SEEDS = 5
LEVEL = 0.95
CASES, METHOD, RUN = 0.5, 0.2, 0.3
"""Shares of the variance of a score."""
SIZES = (320, 959, 1500)
SEED_SDS = (0.0, 0.01, 0.02)
TESTED_AUC, PREVALENCE = 0.9, 0.3
EFFECTS = (0.01, 0.02)
FAMILY = 19
AUCS = (0.75, 0.9, 0.97)
COVERED = ("auc", "average_precision", "accuracy_1", "brier", "log_loss")


def separation(auc: float) -> float:
    """Distance of the classes' means with this AUC, for scores of variance 1."""
    return float(np.sqrt(2) * norm.ppf(auc))


def separation_sd(auc: float, auc_sd: float) -> float:
    """Standard deviation of the separation that gives the AUC this one."""
    slope = norm.pdf(separation(auc) / np.sqrt(2)) / np.sqrt(2)
    return float(auc_sd / slope)


def drawn_auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC of each row of the scores, and on each resample."""
    every = np.concatenate([np.ones((len(labels), 1)), weights], axis=1)
    rows = [Ranks(np.stack([-row, row], axis=1), labels)(every)["auc"] for row in scores]
    return np.array([row[0] for row in rows]), np.array([row[1:] for row in rows])


def run_scores(
    rng: np.random.Generator, labels: np.ndarray, methods: int, seeds: int, sd: float, shift: np.ndarray
) -> np.ndarray:
    """Scores of every run, shape ``(methods * seeds, n)``, the seeds of a method one after the other."""
    n = len(labels)
    case = np.sqrt(CASES) * rng.normal(size=n)
    out = []
    for method in range(methods):
        own = case + np.sqrt(METHOD) * rng.normal(size=n)
        for _ in range(seeds):
            moved = separation(TESTED_AUC + shift[method]) + separation_sd(TESTED_AUC, sd) * rng.normal()
            out.append(own + np.sqrt(RUN) * rng.normal(size=n) + moved * labels)
    return np.array(out)


def tested(rng: np.random.Generator, n: int, sd: float, methods: int, effect: float, resamples: int) -> np.ndarray:
    """Probabilities of the methods but the first against the first; the second column has the cases alone."""
    labels = (np.arange(n) < round(PREVALENCE * n)).astype(np.int64)
    shift = np.zeros(methods)
    shift[1:] = effect
    scores = run_scores(rng, labels, methods, SEEDS, sd, shift)
    blocks = resample(labels, n_resamples=resamples, seed=int(rng.integers(2**31)))
    weights = np.concatenate([np.ascontiguousarray(block.T) for block in blocks], axis=1)
    values, drawn = drawn_auc(scores, labels, weights)
    values, drawn = values.reshape(methods, SEEDS), drawn.reshape(methods, SEEDS, -1)
    out = []
    for method in range(1, methods):
        difference, replicates = values[method] - values[0], drawn[method] - drawn[0]
        error = resampled_error(difference, replicates, n - 1)
        mean = float(difference.mean())
        both = t_test(mean, float(error.error), float(error.degrees)).p
        out.append((both, t_test(mean, float(np.sqrt(case_variances(replicates)[0])), n - 1).p))
    return np.array(out)


def errors(scale: float) -> Iterator[dict[str, Any]]:
    """Type I error and power of one comparison."""
    for n in SIZES:
        for sd in SEED_SDS:
            for effect in (0.0, *EFFECTS):
                rng = np.random.default_rng([1, n, round(sd * 1e4), round(effect * 1e4)])
                count = max(2, round(scale * (1500 if effect == 0 else 300)))
                p = np.concatenate([tested(rng, n, sd, 2, effect, 250) for _ in range(count)])
                rates = (p < 1 - LEVEL).mean(axis=0)
                yield {
                    **{"part": "power" if effect else "type I error", "metric": "auc", "n": n, "seed_sd": sd},
                    **{"effect": effect, "seeds": SEEDS, "simulations": count},
                    **{"rate": rates[0], "cases_alone": rates[1]},
                }


def families(scale: float) -> Iterator[dict[str, Any]]:
    """Family-wise error over 19 methods."""
    for n in SIZES[:2]:
        for sd in SEED_SDS:
            rng = np.random.default_rng([2, n, round(sd * 1e4)])
            count = max(2, round(scale * 200))
            families = [tested(rng, n, sd, 1 + FAMILY, 0.0, 250) for _ in range(count)]
            rates = np.mean([[(holm(p) < 1 - LEVEL).any() for p in family.T] for family in families], axis=0)
            yield {
                **{"part": "family-wise error", "metric": "auc", "n": n, "seed_sd": sd, "effect": 0.0},
                **{"seeds": SEEDS, "simulations": count, "rate": rates[0], "cases_alone": rates[1]},
            }


def truth(auc: float, prevalence: float, auc_sd: float) -> dict[str, float]:
    """Population values of the metrics, mean over training runs."""
    rng = np.random.default_rng([3, round(auc * 1e4), round(prevalence * 1e4)])
    m = 400_000
    quantiles = norm.ppf((np.arange(20) + 0.5) / 20) if auc_sd else np.zeros(1)
    rows = []
    for q in quantiles:
        moved = separation(auc) + separation_sd(auc, auc_sd) * q
        positives = round(prevalence * m)
        z = rng.permutation(norm.ppf((np.arange(m) + 0.5) / m))
        # A shuffled grid in each class: much closer to the population than a sample.
        z[:positives] = norm.ppf((np.arange(positives) + 0.5) / positives)
        z[positives:] = norm.ppf((np.arange(m - positives) + 0.5) / (m - positives))
        labels = (np.arange(m) < positives).astype(np.int64)
        values = Prepared(probability(z + moved * labels, auc), labels)(np.ones((m, 1)))
        rows.append({name: float(value[0]) for name, value in values.items()})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def probability(scores: np.ndarray, auc: float) -> np.ndarray:
    """Probabilities with the threshold half-way between the classes."""
    p = 1 / (1 + np.exp(-separation(auc) * (scores - separation(auc) / 2)))
    return np.stack([1 - p, p], axis=-1)


def covered(
    rng: np.random.Generator, n: int, prevalence: float, auc: float, grouped: bool, seeds: int, auc_sd: float
) -> tuple[dict[str, Any], TestCases]:
    """Intervals of one simulated test set, by metric."""
    labels = np.zeros(n, dtype=np.int64)
    # Groups are pairs of cases with labels of their own and half of the variance in common.
    labels[rng.permutation(n)[: round(prevalence * n)]] = 1
    groups = [str(i // 2) for i in range(n)] if grouped else None
    cases = TestCases.of(labels, groups, 2)
    case = rng.normal(size=n)
    if grouped:
        case = np.sqrt(0.5) * case + np.sqrt(0.5) * rng.normal(size=n)[np.arange(n) // 2]
    every = []
    for _ in range(seeds):
        share = RUN if seeds > 1 else 0.0
        moved = separation(auc) + separation_sd(auc, auc_sd) * rng.normal()
        every.append(np.sqrt(1 - share) * case + np.sqrt(share) * rng.normal(size=n) + moved * labels)
    probabilities = [probability(scores, auc) for scores in every]
    prepared = [Prepared(p, labels) for p in probabilities]
    point = [one(np.ones((n, 1))) for one in prepared]
    drawn: list[list[dict[str, np.ndarray]]] = [[] for _ in prepared]
    for block in resample(labels, groups, n_resamples=400, seed=int(rng.integers(2**31))):
        weights = np.ascontiguousarray(block.T)
        for one, into in zip(prepared, drawn, strict=True):
            into.append(keeping_classes(one.resampled(weights), labels, block))
    out = {}
    for metric in COVERED:
        values = [float(one[metric][0]) for one in point]
        replicates = np.array([np.concatenate([block[metric] for block in of_run]) for of_run in drawn])
        out[metric] = score_interval(metric, values, replicates, cases, probabilities, level=LEVEL)
    return out, cases


def coverage(scale: float) -> Iterator[dict[str, Any]]:
    """Coverage of the intervals of one method's mean, by metric."""
    cells = [(n, prevalence, 1, 0.0) for n in (100, 320) for prevalence in (0.1, 0.3)]
    cells += [(320, 10 / 320, 1, 0.0), (100, 0.1, 5, 0.01), (320, 0.3, 5, 0.01)]
    for n, prevalence, seeds, sd in cells:
        for auc in AUCS:
            true = truth(auc, prevalence, sd)
            for grouped in (False, True):
                rng = np.random.default_rng([4, n, round(prevalence * 1e4), round(auc * 1e4), grouped, seeds])
                count = max(2, round(scale * 600))
                found = [covered(rng, n, prevalence, auc, grouped, seeds, sd)[0] for _ in range(count)]
                for metric in COVERED:
                    ends = np.array([[one[metric].low, one[metric].high] for one in found])
                    known = np.isfinite(ends).all(axis=1)
                    inside = (ends[known, 0] <= true[metric]) & (true[metric] <= ends[known, 1])
                    yield {
                        **{"part": "coverage", "metric": metric, "n": n, "positives": round(prevalence * n)},
                        **{"auc": auc, "grouped": int(grouped), "seeds": seeds, "seed_sd": sd, "simulations": count},
                        **{"rate": float(inside.mean()) if known.any() else np.nan, "given": float(known.mean())},
                        **{"width": float(np.diff(ends[known]).mean()) if known.any() else np.nan},
                    }


def calibration_error(scale: float) -> Iterator[dict[str, Any]]:
    """Mean of the debiased and of the usual ECE of calibrated and overconfident models, less the true value."""
    for sharpness in (1.0, 1.3, 2.0):
        z = 2 * norm.ppf((np.arange(2_000_000) + 0.5) / 2_000_000)
        true = _gaps(z, sharpness, 1 / (1 + np.exp(-np.abs(z))))
        for n in SIZES:
            rng = np.random.default_rng([5, n, round(sharpness * 10)])
            count = max(2, round(scale * 2000))
            rows = []
            for _ in range(count):
                z = rng.normal(0, 2, n)
                labels = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.int64)
                p = 1 / (1 + np.exp(-sharpness * z))
                both = np.stack([1 - p, p], axis=1)
                debiased = CalibrationError(both.max(axis=1), both.argmax(axis=1) == labels)(np.ones((n, 1)))[0]
                rows.append((debiased, _gaps(z, sharpness, (both.argmax(axis=1) == labels).astype(float))))
            bias = np.mean(rows, axis=0) - true
            yield {
                **{"part": "bias of the ECE", "metric": "ece", "n": n, "simulations": count, "effect": true},
                **{"rate": bias[0], "cases_alone": bias[1]},
            }


def _gaps(z: np.ndarray, sharpness: float, hit: np.ndarray) -> float:
    """The usual ECE of likeliest classes that are right with these probabilities, or are right or not."""
    confidence = 1 / (1 + np.exp(-sharpness * np.abs(z)))
    bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    return float(np.abs(np.bincount(bins, confidence - hit)).sum() / len(z))


PARTS = {"errors": errors, "families": families, "coverage": coverage, "ece": calibration_error}


def main() -> None:
    """Write a row per setting as soon as it is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    parser.add_argument("--simulations", type=float, default=1.0, help="factor on the number of simulations")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which parts to simulate")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for part in options.parts:
        for row in PARTS[part](options.simulations):
            rows.append(row)
            pd.DataFrame(rows).to_csv(options.out, index=False, float_format="%.4g", lineterminator="\n")
            print(
                f"{time.process_time():6.0f} s",
                *(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in row.items()),
            )


if __name__ == "__main__":
    main()
