"""Check of the metric that chooses the epoch, against the labels that it is computed on."""

from collections.abc import Sequence

from numpy.typing import ArrayLike

from mmfusion.metrics.classification import EXTRA, NAMES, split_metric
from mmfusion.metrics.definitions import undefined, without_cases


def check_metric(metric: str, labels: ArrayLike, classes: Sequence[str], *, where: str = "validation") -> None:
    """Raise an error if a metric cannot choose an epoch; the labels decide which metrics are defined.

    Args:
        metric: ``train.metric``: one, or several with + between.
        labels: Shape ``(n,)``, class indices of the cases that choose.
        classes: Names of the classes.
        where: The set that chooses, for the message.

    Raises:
        ValueError: If the metric is not one of that many classes, or undefined on these labels.
    """
    names = split_metric(metric)
    known = (*NAMES, *(f"accuracy_{index}" for index in range(len(classes))), *(EXTRA if len(classes) == 2 else ()))
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"train.metric has {unknown[0]!r}, which is not defined for {len(classes)} classes; expected one of: "
            f"{', '.join(known)}"
        )
    nowhere = undefined(labels, len(classes), extra=EXTRA if len(classes) == 2 else ())
    wrong = [name for name in names if name in nowhere]
    if not wrong:
        return
    lacking = without_cases(labels, classes)
    left = [name for name in NAMES if name not in nowhere]
    raise ValueError(
        f"train.metric={metric} chooses the epoch on the {where} set, which has no cases of "
        f"{', '.join(map(repr, lacking))}: {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} undefined there. "
        f"Give that set cases of every class (a larger data.validation, another data.fold or split), or choose by a "
        f"metric that is defined: train.metric={' or '.join(left)}"
    )
