"""The training curve as a picture."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from mmfusion.utils.optional import need


def draw(history: Sequence[Mapping[str, Any]], metric: str, best_epoch: int, title: str) -> bytes:
    """Loss terms above, the metric on validation below, over the epochs.

    Args:
        history: The entries of a run's ``history.json``.
        metric: Its values are drawn, where there are any.
        best_epoch: Marked by a line.
        title: Above the picture.

    Returns:
        A PNG file.
    """
    matplotlib = need("matplotlib", "bench")
    # What a matplotlibrc in the working folder says does not count: it may have texts set by another program.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        return _drawn(history, metric, best_epoch, title)


def _drawn(history: Sequence[Mapping[str, Any]], metric: str, best_epoch: int, title: str) -> bytes:
    # The object interface needs neither a display nor a global backend.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    losses, scores = figure.subplots(2, 1, sharex=True)
    epochs = [entry["epoch"] for entry in history]
    names = list(dict.fromkeys(name for entry in history for name in entry["losses"]))
    for name in names:
        points = [(entry["epoch"], entry["losses"][name]) for entry in history if name in entry["losses"]]
        losses.plot(*zip(*points), label=name, marker="o", markersize=3)
    if len(names) > 1:
        totals = [sum(entry["losses"].values()) for entry in history]
        losses.plot(epochs, totals, label="sum", color="black", linewidth=2)
    # Negative terms exist; logarithms of them do not.
    losses.set_ylabel("training loss, weighted")
    losses.legend(fontsize="small", ncols=2)
    points = [(entry["epoch"], value) for entry in history if (value := entry["validation"].get(metric)) is not None]
    if points:
        scores.plot(*zip(*points), marker="o", markersize=3, color="tab:green")
    scores.set_ylabel(f"validation {metric.replace('_', ' ')}")
    scores.set_xlabel("epoch")
    scores.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (losses, scores):
        axes.grid(alpha=0.3)
        if best_epoch:
            axes.axvline(best_epoch, color="gray", linestyle=":", label="chosen")
    figure.suptitle(title, fontsize="medium")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
