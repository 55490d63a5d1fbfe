"""Processor seconds of a comparison's statistics: all metrics of all runs on all resamples, and the whole analysis."""

import argparse
import itertools
import time
from pathlib import Path

import numpy as np

from mmfusion.comparison.analysis import analyse
from mmfusion.comparison.analysis.judged import judge
from mmfusion.comparison.analysis.resampling import sample
from mmfusion.comparison.finished_run import FinishedRun
from mmfusion.experiments.held_out_cases import Cases
from mmfusion.experiments.settings import resolve
from speed.timing import spread, verdict

MODELS = ("concat", "amf", "cfcml", "daft", "film", "gmu", "healnet", "image", "lmf", "max", "mbt", "tip")
PREVALENCE = (0.67, 0.11, 0.11, 0.05, 0.03, 0.02, 0.01)
"""Of HAM10000's seven classes."""


def add(commands: argparse._SubParsersAction) -> None:
    """The subcommand."""
    parser = commands.add_parser(
        "statistics", help="10,000 resamples of 2,000 cases by 7 classes for 12 models and 5 seeds"
    )
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.set_defaults(function=statistics)


def runs(n: int, n_seeds: int) -> list[FinishedRun]:
    """Of each model and seed, on the same cases, a quarter of which share their patient with another."""
    rng = np.random.default_rng(0)
    k = len(PREVALENCE)
    patients = np.concatenate([np.arange(n // 4), np.arange(n - n // 4)])
    labels = rng.choice(k, n, p=PREVALENCE)[patients]
    ids = np.array([f"{i:06d}" for i in range(n)])
    shared = rng.normal(size=(n, k))
    found = []
    for at, (model, seed) in enumerate(itertools.product(MODELS, range(n_seeds))):
        parts = {}
        for part in ("validation", "test"):
            logits = shared + rng.normal(size=(n, k))
            logits[np.arange(n), labels] += 2 - 0.05 * (at // n_seeds)
            p = np.exp(logits)
            parts[part] = Cases(ids, patients.astype(str), labels, p / p.sum(axis=1, keepdims=True))
        found.append(
            FinishedRun(
                folder=Path(f"{model}-{seed}"),
                settings=resolve(model, overrides=[{"run": {"seed": seed}}]),
                row=None,
                classes=tuple("abcdefg"),
                seed=seed,
                fold=0,
                test=parts["test"],
                validation=parts["validation"],
                metrics={},
                n_train=None,
                history=None,
                environment=None,
                robustness=None,
                subgroups=None,
            )
        )
    return found


def statistics(options: argparse.Namespace) -> None:
    """The resampling alone, then the whole analysis with its tests and curves."""
    finished = runs(options.cases, options.seeds)
    alone, whole = [], []
    for _ in range(options.repeats):
        start = time.process_time()
        sampled = sample([judge(run) for run in finished], n_resamples=options.resamples, seed=0)
        alone.append(time.process_time() - start)
        start = time.process_time()
        analyse(finished, n_resamples=options.resamples)
        whole.append(time.process_time() - start)
    print(
        f"{len(MODELS)} models, {options.seeds} seeds, {options.cases} cases, {len(PREVALENCE)} classes, "
        f"{options.resamples} resamples"
    )
    print(f"  {f'{len(sampled[0].raw)} metrics of each run':30s} {spread(alone, '.1f')} s; ", end="")
    print(verdict(float(np.median(alone)), at_most=60))
    print(f"  {'all, with tests and curves':30s} {spread(whole, '.1f')} s")
