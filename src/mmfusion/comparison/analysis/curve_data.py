"""Curves and the confusion matrix of a method, as numbers."""

import dataclasses

from mmfusion.metrics.ranking import Floats


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve with its band, on a grid that all methods share.

    Attributes:
        of: Name of a class; ``macro`` for the mean of the classes' curves, ``likeliest`` for the calibration of the
            likeliest class.
        x: Shape ``(g,)``: false positive rate, recall, mean probability in a bin, or threshold.
        y: Shape ``(g,)``, mean over the runs: true positive rate, precision, share of cases of the class, or net
            benefit.
        low: Shape ``(g,)``, lower edge of the pointwise band.
        high: Shape ``(g,)``.
        area: AUC, average precision, for a reliability curve the expected calibration error of its bins, else NaN.
        share: Shape ``(g,)``, of the cases in each bin; None for other curves.
    """

    of: str
    x: Floats
    y: Floats
    low: Floats
    high: Floats
    area: float
    share: Floats | None = None


@dataclasses.dataclass(frozen=True)
class Curves:
    """Curves of one method; for two classes those of class 1 alone.

    Attributes:
        roc: One per class, then ``macro`` for more than two classes.
        precision_recall: Likewise.
        reliability: One per class, then ``likeliest`` for more than two classes.
        reliability_scaled: After temperature scaling; empty if no temperature is known.
        net_benefit: One per class.
    """

    roc: tuple[Curve, ...]
    precision_recall: tuple[Curve, ...]
    reliability: tuple[Curve, ...]
    reliability_scaled: tuple[Curve, ...]
    net_benefit: tuple[Curve, ...] = ()


@dataclasses.dataclass(frozen=True)
class Confusion:
    """Confusion matrix: true class by row, likeliest class by column.

    Attributes:
        counts: Shape ``(k, k)``, mean over the runs.
        shares: Shape ``(k, k)``, of each row; NaN for a class without cases.
    """

    counts: Floats
    shares: Floats


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """A run, epoch by epoch.

    Attributes:
        seed: Seed of the run.
        fold: Fold of the run.
        metric: Validation metric by which the epoch was chosen.
        epochs: Shape ``(e,)``, from 1.
        validation: Shape ``(e,)``; NaN in a phase of pretraining.
        loss: Shape ``(e,)``, the sum of the weighted terms.
        phases: Name of each epoch's phase.
        chosen: Epoch whose weights were kept; None if it is unknown.
    """

    seed: int
    fold: int
    metric: str
    epochs: Floats
    validation: Floats
    loss: Floats
    phases: tuple[str, ...]
    chosen: int | None
