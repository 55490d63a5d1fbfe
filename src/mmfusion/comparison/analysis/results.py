"""Results of a comparison, in plain numbers: frozen dataclasses.

Every mean is over the runs of a method, that is its seeds and folds, and every interval is that of this mean, with both
sources of error: other test cases and, where there are several runs, other training runs. A number that is undefined or
unknown is NaN, anything else that is unknown is None.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from mmfusion.comparison.analysis.curve_data import Confusion, Curves, LearningCurve
from mmfusion.comparison.analysis.scores import Contribution, Degradation, Gap, RunPoint, Score, Subgroup
from mmfusion.comparison.numerical_noise import Noise
from mmfusion.comparison.tuning_record import Tuning

Named = Literal["beforehand", "default", "report"]
"""Origin of the reference: named before the runs were finished, the library's default, or named for the report."""


SIGNIFICANCE = 0.05
"""Level of the tests."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost, mean over the runs that recorded it; NaN if none did.

    Attributes:
        parameters: All parameters.
        trainable: Trained parameters.
        flops_per_case: Of one forward pass.
        epochs: Of all phases.
        train_seconds: Including validation.
        train_cases_per_second: Throughput.
        inference_cases_per_second: Throughput.
        peak_memory_bytes: Of the GPU, or of the process.
        devices: Devices on which it was measured.
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
        label: Unique in its comparison: the model's name, the options that distinguish it from the plain method and
            from other methods of that model, and the ablation's name.
        model: Registered name, or that of a scikit-learn reference row.
        ablation: Name of the ablation; None for none.
        options: Options in which the methods of that model differ, and those that the label has.
        changed: Settings of the model and its training that differ from the defaults, the recipe and the preset:
            options of the model by their names, ``train.lr`` and so on, ``run.precision``.
        is_reference: Whether the others are tested against it.
        is_row: Whether it is a reference row, fitted to the table, to a frozen encoder's embeddings, or to both.
        beyond: Needs beyond the equal budget, in words; None for none.
        settings: All settings but seed, fold and folder.
        runs: By fold, then seed.
        scores: By metric, all metrics.
        scaled: ``brier``, ``ece`` and ``log_loss`` after temperature scaling; empty if a run has no temperature.
        curves: ROC, precision-recall, reliability.
        confusion: Mean over the runs.
        subgroups: In the order of the properties and values.
        robustness: None if no run was evaluated with missing cells.
        contributions: Empty if no run was evaluated without a modality.
        learning: One per run that has a history.
        cost: None if it was not measured.
        whole: Label of the method that it is an ablation of, against which it is tested; None for a method of its own,
            also for an ablation whose whole is not in the comparison.
        ranks: Best and worst rank that it may have; None for an ablation, and where no verdict is possible.
        tunings: By fold, how its settings were chosen by trials; empty if they were not. ``settings``, ``options`` and
            ``changed`` are then those of its recipe.
        at_recipe: Whether it is a tuned method at its recipe; ``whole`` is then the tuned one.
        family: Where it fuses, in words; empty if that is unknown.
        noise: Spread over repeats of the seeds from perturbed starts; None if there are no repeats. They count nowhere
            else.
        gaps: One per property of which two subgroups can be compared.
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
    whole: str | None = None
    ranks: tuple[int, int] | None = None
    tunings: tuple[Tuning, ...] = ()
    at_recipe: bool = False
    family: str = ""
    noise: Noise | None = None
    gaps: tuple[Gap, ...] = ()


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """A method against the reference, or an ablation against its whole.

    Attributes:
        method: Label.
        reference: Label.
        metric: The compared metric.
        kind: ``cases and seeds``: of the mean over seeds, with both sources of error; ``cases``: of two trained models,
            for other test cases only; ``corrected resampled t``: over folds.
        n_runs: Pairs of runs, one of each method, of the same seed, fold and test cases.
        difference: Method less reference, mean over these pairs (within each test set, then over the sets); for
            ``brier``, ``ece`` and ``log_loss`` negative is better.
        low: Lower end of its interval; NaN if there is none.
        high: Upper end.
        p: Two-sided; NaN if there is no test, or may be no verdict.
        p_holm: Corrected for all methods of the comparison that may have a verdict, or for all reference rows; NaN if
            there is none.
        better: True if the method is significantly better at 5% after correction, False if worse, else None.
        reason: Why there is no interval; empty if there is one.
        no_verdict: Why there is no verdict on methods; empty if there may be one.
        error: Standard error of the difference.
        degrees: Its degrees of freedom.
        detectable: The smallest true difference that would be found with 80% power at 5% divided by the number of
            methods tested.
        p_no_worse: One-sided, of a loss of the margin or more, corrected by Holm: non-inferiority.
        p_equal: Two one-sided tests of a difference of the margin or more (TOST), corrected by Holm.
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
    no_verdict: str = ""
    error: float = math.nan
    degrees: float = math.nan
    detectable: float = math.nan
    p_no_worse: float = math.nan
    p_equal: float = math.nan

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, ``equal``, ``no worse``, ``open``, or ``none`` if there is no verdict on methods."""
        if self.no_verdict or not math.isfinite(self.p_holm):
            return "none"
        if self.better is not None:
            return "better" if self.better else "worse"
        if self.p_equal < SIGNIFICANCE:
            return "equal"
        return "no worse" if self.p_no_worse < SIGNIFICANCE else "open"


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """The ensemble of a method's seeds: the mean of their probabilities, a reference beside the method.

    Attributes:
        label: Of the method.
        sizes: Number of its models on each test set, at least 2.
        scores: By metric, all metrics; intervals are of these trained models, for other test cases only; over several
            test sets, those of folds, as for a method.
        single: By metric, the mean over its single models.
    """

    label: str
    sizes: tuple[int, ...]
    scores: Mapping[str, Score]
    single: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Caution:
    """A caution for the reader of a table.

    Attributes:
        kind: ``note`` (of the data: leaks, licences), ``noise``, ``few``, ``interval``, ``reference``, ``pairing``,
            ``seeds``, ``budget``, ``versions``, ``tuning``, ``options``, ``calibration``, ``data``, ``missing`` or
            ``undefined``.
        text: A sentence.
    """

    kind: str
    text: str


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Versions and hardware of some of the runs.

    Attributes:
        n_runs: Number of these runs.
        commit: Commit of the package; None outside a checkout.
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
        shared: Settings that all methods share, by section: ``data``, ``train``, ``model`` (encoder and weights).
        classes: Names.
        prevalence: Test cases of each class, by its name, over all folds.
        n_validation: Validation cases, mean over the runs.
        n_cases: Different test cases, over all folds.
        n_groups: Different patients or lesions among them.
        folds: Number of folds.
        seeds: All seeds.
        ceilings: Best possible AUC, for data generated from known probabilities.
        metrics: Metrics to show, first the one that ranks.
        reference: Label of the method that the others are tested against; None if it is missing.
        named: Origin of the reference.
        methods: Best first, reference rows among them; then the ablations.
        tests: Of every method but the reference and the ablations, by metric, in the order of the methods; then of the
            reference rows, which are a family of their own.
        resolution: Twice the median standard error of a single run's ranking metric, from the test cases alone.
        cautions: Warnings.
        surroundings: Versions and hardware, the most frequent first.
        ablation_tests: Of every ablation against its whole, likewise; each whole is a family of its own.
        margin: Difference of the ranking metric within which methods count as equal; None if none was named.
        recipe_tests: Of every tuned method's recipe against the tuned method, by metric; each is a family of its own.
        ensembles: Of the seeds of each method that has two or more on the same test cases.
        n_train: Training cases, mean over the runs; NaN if no run recorded them.
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
    ablation_tests: tuple[PairedTest, ...] = ()
    margin: float | None = None
    recipe_tests: tuple[PairedTest, ...] = ()
    ensembles: tuple[Ensemble, ...] = ()
    n_train: float = math.nan


@dataclasses.dataclass(frozen=True)
class Analysis:
    """All comparisons of a set of runs.

    Attributes:
        comparisons: By dataset and name.
        reference: The model that the others are tested against.
        level: Coverage of the intervals.
        n_resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.
    """

    comparisons: tuple[Comparison, ...]
    reference: str
    level: float
    n_resamples: int
    seed: int
