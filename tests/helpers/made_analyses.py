"""Analyses made by hand: as small as a test wants, as large as a comparison gets."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmfusion.comparison.analysis.curve_data import Confusion, Curve, Curves, LearningCurve
from mmfusion.comparison.analysis.results import Analysis, Caution, Comparison, Cost, Method, PairedTest, Surroundings
from mmfusion.comparison.analysis.scores import Contribution, Degradation, Gap, RunPoint, Score, Subgroup
from mmfusion.metrics.decision import THRESHOLDS, treat_all

NAN = float("nan")
SHARES = np.array([0, 0.1, 0.3, 0.5, 0.7, 0.9])


def score(mean: float, reach: float = 0.01, points: Sequence[float] = ()) -> Score:
    sd = float(np.std(points, ddof=1)) if len(points) > 1 else NAN
    return Score(mean, sd, mean - reach, mean + reach, reach / 2, tuple(points))


def _curve(of: str, auc: float, grid: int = 101) -> Curve:
    x = np.linspace(0, 1, grid)
    y = x ** ((1 - auc) / auc)
    return Curve(of, x, y, np.clip(y - 0.04, 0, 1), np.clip(y + 0.04, 0, 1), auc)


def _falling(of: str, auc: float) -> Curve:
    x = np.linspace(0, 1, 101)
    y = 1 - 0.8 * x ** (1 / (1.2 - auc))
    return Curve(of, x, y, np.clip(y - 0.05, 0, 1), np.clip(y + 0.05, 0, 1), float(y.mean()))


def _reliability(of: str, slope: float) -> Curve:
    x = np.linspace(0.05, 0.95, 10)
    y = np.clip(0.5 + slope * (x - 0.5), 0, 1)
    y[1] = NAN
    return Curve(of, x, y, np.clip(y - 0.05, 0, 1), np.clip(y + 0.05, 0, 1), 0.03, np.full(10, 0.1))


def _benefit(of: str, auc: float, prevalence: float) -> Curve:
    y = np.maximum(treat_all(prevalence), 0) + 0.2 * (auc - 0.5) * prevalence * np.sin(np.pi * THRESHOLDS)
    return Curve(of, THRESHOLDS, y, y - 0.02, y + 0.02, NAN)


def method(
    label: str,
    auc: float,
    classes: Sequence[str] = ("benign", "malignant"),
    *,
    runs: int = 3,
    reference: bool = False,
    modalities: Sequence[str] = ("image", "table"),
    seed: int = 0,
) -> Method:
    rng = np.random.default_rng(seed)
    k = len(classes)
    names = list(classes[1:]) if k == 2 else [*classes, "macro"]
    likely = list(classes[1:]) if k == 2 else [*classes, "likeliest"]
    points = auc + 0.008 * rng.normal(size=runs)
    shares = np.full((k, k), 0.3 / (k - 1))
    np.fill_diagonal(shares, 0.7)
    epochs = np.arange(1.0, 9)
    learning = tuple(
        LearningCurve(
            s,
            0,
            "auc",
            epochs,
            auc - 0.2 * np.exp(-epochs / 2) + 0.004 * rng.normal(size=8),
            2 * np.exp(-epochs / 4) + 0.1,
            ("train",) * 8,
            6 + s % 3,
        )
        for s in range(runs)
    )
    left = auc - 0.25 * SHARES**2
    metrics = {
        "auc": score(auc, 0.012, points.tolist()),
        "average_precision": score(auc - 0.2),
        "balanced_accuracy": score(auc - 0.15),
        "accuracy": score(auc - 0.1),
        "brier": score(0.15),
        "ece": score(0.05),
        "log_loss": score(0.4),
    }
    return Method(
        label=label,
        model=label.split()[0],
        ablation=None,
        options={},
        changed={},
        is_reference=reference,
        is_row=False,
        beyond=None,
        settings={},
        runs=tuple(RunPoint(f"runs/{label}/seed{s}", s, 0, 320, 0.4, 1.3) for s in range(runs)),
        scores=metrics,
        scaled={"brier": score(0.14), "ece": score(0.02), "log_loss": score(0.37)},
        curves=Curves(
            tuple(_curve(name, auc) for name in names),
            tuple(_falling(name, auc) for name in names),
            tuple(_reliability(name, 0.8) for name in likely),
            tuple(_reliability(name, 0.98) for name in likely),
            tuple(_benefit(name, auc, 0.4) for name in classes[k == 2 :]),
        ),
        confusion=Confusion(shares * 100, shares),
        gaps=(
            Gap("sex", tuple(classes), "male", "female", 0.02, -0.01, 0.05),
            Gap("age", tuple(classes), "over 60", "under 40", 0.05, NAN, NAN),
        ),
        subgroups=tuple(
            Subgroup(by, value, n, n - 3, dict.fromkeys(classes, n // k), {"auc": score(auc + shift, 0.03)})
            for by, value, n, shift in (
                ("sex", "female", 150, 0.01),
                ("sex", "male", 170, -0.01),
                ("age", "under 40", 60, 0.02),
                ("age", "40 to 60", 140, 0.0),
                ("age", "over 60", 120, -0.03),
            )
        ),
        robustness=Degradation(
            "auc",
            SHARES,
            left,
            left - 0.012,
            left + 0.012,
            left + 0.006 * rng.normal(size=(runs, 1)),
            score(float(left.mean()), 0.01),
        ),
        contributions=tuple(
            Contribution(name, kind, score(auc - drop), score(drop, 0.012))
            for number, name in enumerate(modalities)
            for kind, drop in (("without", 0.15 - 0.06 * number), ("permuted", 0.18 - 0.07 * number))
        ),
        learning=learning,
        cost=Cost(
            3.0e6 * (1 + 0.1 * seed),
            1e6,
            0.24e9 * (1 + 0.07 * seed),
            8,
            300 + 60 * seed,
            178,
            400,
            1.2e9 + 1e8 * seed,
            ("cpu",),
        ),
    )


def comparison(
    methods: Sequence[Method], classes: Sequence[str] = ("benign", "malignant"), **changes: Any
) -> Comparison:
    reference = next((one for one in methods if one.is_reference), None)
    tests = []
    if reference is not None:
        for one in methods:
            if one is not reference:
                d = one.scores["auc"].mean - reference.scores["auc"].mean
                p = min(1.0, max(0.0004, 0.3 - 10 * abs(d)))
                better = None if p > 0.05 else d > 0
                tests.append(
                    PairedTest(
                        one.label, reference.label, "auc", "cases and seeds", 5, d, d - 0.01, d + 0.01, p / 2, p, better
                    )
                )
                tests.append(
                    PairedTest(
                        *(one.label, reference.label, "accuracy", "cases and seeds", 5, d, NAN, NAN, NAN, NAN, None),
                        reason="most resamples leave it undefined",
                        no_verdict="it is not the metric that was named for verdicts",
                    )
                )
    made = Comparison(
        name="derm7pt-resnet18",
        dataset="derm7pt",
        shared={"data": {"size": 128, "task": None}, "train": {"epochs": 8, "lr": 1e-3, "augment": {"flips": True}}},
        classes=tuple(classes),
        prevalence={name: 320 // (2 + number) for number, name in enumerate(classes)},
        n_validation=200.0,
        n_cases=320,
        n_groups=300,
        folds=1,
        seeds=(0, 1, 2),
        ceilings={},
        metrics=("auc", "average_precision", "balanced_accuracy", "accuracy"),
        reference=None if reference is None else reference.label,
        named="beforehand",
        methods=tuple(methods),
        tests=tuple(tests),
        resolution=0.024,
        cautions=(
            Caution("noise", "With 320 test cases the AUC of a run has a standard error near 0.012."),
            Caution("note", "2 lesions of the source are in two parts."),
        ),
        surroundings=(
            Surroundings(
                6,
                "0123456789abcdef0123456789abcdef01234567+changes",
                {"torch": "2.14.1", "timm": "1.0.31"},
                "cpu",
                "a processor",
            ),
        ),
    )
    return dataclasses.replace(made, **changes)


def analysis(*comparisons: Comparison, reference: str = "concat") -> Analysis:
    return Analysis(tuple(comparisons), reference, 0.95, 2000, 0)


def small() -> Analysis:
    """Three methods, two classes."""
    return analysis(
        comparison([method("cfcml", 0.9, seed=2), method("concat", 0.87, reference=True, seed=1), method("image", 0.8)])
    )


def large(n: int = 24, classes: Sequence[str] = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")) -> Analysis:
    """As many methods and classes as a comparison gets."""
    others = (
        "mult",
        "daft",
        "film",
        "healnet",
        "gmu",
        "lmf",
        "amf",
        "mmcl",
        "mul",
        "hyperfusion",
        "metablock",
        "metanet",
    )
    names = [
        "cfcml",
        "mbt",
        "concat",
        *others,
        "mmtm",
        "tip",
        "tformer",
        "gated_query",
        "late",
        "max",
        "image",
        "tabular",
    ]
    names = [*names, "cfcml no-enhancement"][:n]
    rng = np.random.default_rng(3)
    values = np.sort(0.86 + 0.1 * rng.random(n))[::-1]
    made = [
        method(
            name,
            float(value),
            classes,
            reference=name == "concat",
            modalities=("dermoscopic", "clinical", "meta"),
            seed=i,
        )
        for i, (name, value) in enumerate(zip(names, values))
    ]
    return analysis(comparison(made, classes, name="ham10000-efficientnet_lite0-frozen", dataset="ham10000"))


def bare() -> Analysis:
    """One method, one run, and nothing that may be missing."""
    full = method("image", 0.8, runs=1)
    only = dataclasses.replace(
        full,
        runs=(RunPoint("runs/image", 0, 0, 320, None, None),),
        scores={"auc": Score(0.8, NAN, NAN, NAN, NAN, (0.8,))},
        scaled={},
        curves=Curves((), (), (), ()),
        subgroups=(),
        gaps=(),
        robustness=None,
        contributions=(),
        learning=(),
        cost=None,
    )
    return analysis(
        comparison(
            [only], metrics=("auc",), shared={}, cautions=(), surroundings=(), resolution=NAN, seeds=(0,), prevalence={}
        )
    )
