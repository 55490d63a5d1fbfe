"""What a comparison found, in plain numbers: frozen dataclasses, JSON-able by :func:`to_plain`.

Every mean is over the runs of a method, that is its seeds and folds, and every interval is that of this mean. What is
undefined or unknown is NaN among numbers and None elsewhere.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from mmfusion.comparison.analysis.curve_data import Confusion, Curves, LearningCurve
from mmfusion.comparison.analysis.plain_values import to_plain
from mmfusion.comparison.analysis.scores import Contribution, Degradation, RunPoint, Score, Subgroup

Named = Literal["beforehand", "default", "report"]
"""How a reference came to be one: named before the numbers were there, the library's own, or given to the report."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Mean over the runs that say it; NaN where none does.

    Attributes:
        parameters: All.
        trainable: Those that are trained.
        flops_per_case: Of one forward pass.
        epochs: Of all phases.
        train_seconds: With validation.
        train_cases_per_second: Throughput.
        inference_cases_per_second: Throughput.
        peak_memory_bytes: Of the GPU, or of the process.
        devices: On which it was measured.
    """

    parameters: float
    trainable: float
    flops_per_case: float
    epochs: float
    train_seconds: float
    train_cases_per_second: float
    inference_cases_per_second: float
    peak_memory_bytes: float
    devices: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Method:
    """A row of the ranking.

    Attributes:
        label: Unique in its comparison: the model's name, with the options that make it another than the plain method,
            or set it apart where there are several of that model, and the ablation's name.
        model: Registered name, or that of a scikit-learn reference row.
        ablation: Name of the ablation that its options are; None for none.
        options: In which the methods of that model differ, and what of the model its label tells.
        changed: What the defaults, the recipe and the preset do not say, of the model and its training; options of the
            model by their names, ``train.lr`` and so on, ``run.precision``.
        is_reference: Whether the others are tested against it.
        is_row: Whether it is a scikit-learn reference row, fitted to the table alone.
        beyond: What it needs beyond the equal budget, in words; None for nothing.
        settings: All settings but the seed, the fold and the place.
        runs: By fold, then seed.
        scores: By metric, every one there is.
        scaled: ``brier``, ``ece`` and ``log_loss`` after temperature scaling; empty where a run has no temperature.
        curves: ROC, precision-recall, reliability.
        confusion: Mean over the runs.
        subgroups: In the order of the properties and values.
        robustness: None where no run was made to tell.
        contributions: Empty where no run was made to tell.
        learning: One a run that has a history.
        cost: None for what was not measured.
    """

    label: str
    model: str
    ablation: str | None
    options: Mapping[str, Any]
    changed: Mapping[str, Any]
    is_reference: bool
    is_row: bool
    beyond: str | None
    settings: Mapping[str, Any]
    runs: tuple[RunPoint, ...]
    scores: Mapping[str, Score]
    scaled: Mapping[str, Score]
    curves: Curves
    confusion: Confusion
    subgroups: tuple[Subgroup, ...]
    robustness: Degradation | None
    contributions: tuple[Contribution, ...]
    learning: tuple[LearningCurve, ...]
    cost: Cost | None


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """A method against the reference.

    Attributes:
        method: Label.
        reference: Label.
        metric: What is compared.
        kind: ``delong``, ``bootstrap``, ``mcnemar`` or ``corrected resampled t``.
        n_runs: Pairs of runs, one of each method, of the same seed, fold and test cases.
        difference: Method less reference, mean over these pairs (of each test part, then over the parts); for
            ``brier``, ``ece`` and ``log_loss`` negative is better.
        low: Lower end of its interval; NaN for McNemar's test, which has none.
        high: Upper end.
        p: Two-sided; NaN where there is no test.
        p_holm: Corrected for all methods of the comparison that were tested on this metric.
        better: Whether the method is better (True), worse (False), or neither is shown at 5% after correction (None).
        reason: Why there is no interval; empty where there is one.
    """

    method: str
    reference: str
    metric: str
    kind: str
    n_runs: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    better: bool | None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Caution:
    """What a reader must know before believing a table.

    Attributes:
        kind: ``note`` (of the data: leaks, licences), ``noise``, ``reference``, ``pairing``, ``seeds``, ``budget``,
            ``versions``, ``tuning``, ``options``, ``calibration``, ``data``, ``missing`` or ``undefined``.
        text: A sentence.
    """

    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What some of the runs were made with.

    Attributes:
        n_runs: How many of them.
        commit: Of the package; None outside a checkout.
        versions: By package.
        device: ``cpu`` or ``cuda``.
        hardware: Processor or GPU.
    """

    n_runs: int
    commit: str | None
    versions: Mapping[str, str]
    device: str | None
    hardware: str | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods that may share a table.

    Attributes:
        name: Short and unique, fit for a file or an anchor: ``ham10000-efficientnet_lite0-frozen``.
        dataset: Registered name.
        shared: What all methods have in common, by section: ``data``, ``train``, ``model`` (encoder and weights).
        classes: Names.
        prevalence: Test cases of each class, by its name, over all folds.
        n_validation: Cases, mean over the runs.
        n_cases: Different test cases, over all folds.
        n_groups: Different patients or lesions among them.
        folds: How many occur.
        seeds: All that occur.
        ceilings: Best AUC possible, where the data were made from known probabilities.
        metrics: Those to show, the one that ranks first.
        reference: Label of the method that the others are tested against; None where it is missing.
        named: How it came to be the reference.
        methods: Best first; reference rows of scikit-learn among them.
        tests: Of every method but the reference, by metric, in the order of the methods.
        resolution: Difference of the ranking metric between two single runs below which the test cases cannot tell them
            apart: twice the median standard error.
        cautions: Warnings.
        surroundings: Versions and hardware, the most frequent first.
    """

    name: str
    dataset: str
    shared: Mapping[str, Mapping[str, Any]]
    classes: tuple[str, ...]
    prevalence: Mapping[str, int]
    n_validation: float
    n_cases: int
    n_groups: int
    folds: int
    seeds: tuple[int, ...]
    ceilings: Mapping[str, float]
    metrics: tuple[str, ...]
    reference: str | None
    named: Named
    methods: tuple[Method, ...]
    tests: tuple[PairedTest, ...]
    resolution: float
    cautions: tuple[Caution, ...]
    surroundings: tuple[Surroundings, ...]


@dataclasses.dataclass(frozen=True)
class Analysis:
    """All comparisons of a set of runs.

    Attributes:
        comparisons: By dataset and name.
        reference: The model that the others are tested against.
        level: Coverage of the intervals.
        n_resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    comparisons: tuple[Comparison, ...]
    reference: str
    level: float
    n_resamples: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON; None where a number is not finite."""
        plain: dict[str, Any] = to_plain(self)
        return plain
