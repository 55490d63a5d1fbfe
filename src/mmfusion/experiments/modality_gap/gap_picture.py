"""Pictures of the panels: color is the class, the marker the modality, prototypes are large with a dark edge."""

import io
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmfusion.experiments.modality_gap.gap_panels import ACROSS, Panel
from mmfusion.experiments.modality_gap.projections import PCA
from mmfusion.utils.optional import need

# Okabe and Ito's colors, which color-blind readers distinguish too; more classes take the colors again.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933", "#5e3c99")
UNLABELED = "#9a9a9a"
_MARKERS = ("o", "^", "s", "D", "v", "P", "X")
_SIDE, _DPI = 3.2, 110
_INK = "#1a1a1a"


def color_of(index: int) -> str:
    """Of a class; of cases without one for -1."""
    return COLORS[index % len(COLORS)] if index >= 0 else UNLABELED


def overview(states: Mapping[str, Sequence[Panel]], classes: Sequence[str]) -> bytes:
    """All panels, one row per state, with a legend.

    Args:
        states: Panels by the state of the model, as many of each.
        classes: Their names; empty without labels.

    Returns:
        A PNG file.
    """
    columns, markers = max(1, *map(len, states.values())), markers_of(states)
    with _plain():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        height = _SIDE * len(states) + 0.7
        figure = Figure(figsize=(max(_SIDE * columns, 6.4), height), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(states), columns, squeeze=False)
        limits = [_limits([panels[j] for panels in states.values() if j < len(panels)]) for j in range(columns)]
        for row, (state, panels) in zip(axes, states.items()):
            for place in row[len(panels) :]:
                place.set_axis_off()
            for j, (place, panel) in enumerate(zip(row, panels)):
                _draw(place, panel, limits[j], markers, f"{state}\n{panel.title}, {panel.projection}")
        figure.legend(handles=_legend(states, classes), loc="outside lower center", ncols=6, fontsize=8, frameon=False)
        return _png(figure)


def pictures(states: Mapping[str, Sequence[Panel]]) -> dict[str, list[bytes]]:
    """Each panel by itself, without texts but those of its axes: PNG files by state."""
    found: dict[str, list[bytes]] = {}
    markers = markers_of(states)
    with _plain():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        for state, panels in states.items():
            for j, panel in enumerate(panels):
                figure = Figure(figsize=(_SIDE, _SIDE), dpi=_DPI, layout="constrained")
                FigureCanvasAgg(figure)
                alike = [others[j] for others in states.values() if j < len(others)]
                _draw(figure.subplots(), panel, _limits(alike), markers)
                found.setdefault(state, []).append(_png(figure))
    return found


def markers_of(states: Mapping[str, Sequence[Panel]]) -> dict[str | None, str]:
    """The marker of each set, in order."""
    names = [cloud.name for panels in states.values() for panel in panels for cloud in panel.clouds]
    sets = [name for name in dict.fromkeys(names) if name is not ACROSS]
    found: dict[str | None, str] = {name: _MARKERS[i % len(_MARKERS)] for i, name in enumerate(sets)}
    return found | ({ACROSS: "*"} if ACROSS in names else {})


def _draw(
    axes: Any, panel: Panel, limits: tuple[float, float] | None, markers: Mapping[str | None, str], title: str = ""
) -> None:
    for cloud in panel.clouds:
        colors = [color_of(int(c)) for c in cloud.classes]
        axes.scatter(*cloud.points.T, c=colors, marker=markers[cloud.name], s=9, alpha=0.55, linewidths=0)
    for cloud in panel.clouds:
        if cloud.prototypes is not None:
            style = {"marker": markers[cloud.name], "s": 160 if cloud.name is ACROSS else 75}
            axes.scatter(
                *cloud.prototypes.T,
                c=[color_of(c) for c in range(len(cloud.prototypes))],
                **{"edgecolors": _INK, "linewidths": 1.1, "zorder": 3, **style},
            )
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])
    if panel.projection == PCA:
        for name, share in zip(("x", "y"), panel.shares):
            getattr(axes, f"set_{name}label")(f"{share:.0%} of the variance", fontsize=7)
        if limits is not None:
            axes.set_xlim(*limits)
            axes.set_ylim(*limits)
    axes.set_aspect("equal", "datalim" if panel.projection != PCA else "box")


def _limits(panels: Sequence[Panel]) -> tuple[float, float] | None:
    """One scale for PCA in all states: it keeps distances, which can then be compared."""
    if any(panel.projection != PCA for panel in panels):
        return None
    points = [
        x for panel in panels for cloud in panel.clouds for x in (cloud.points, cloud.prototypes) if x is not None
    ]
    largest = float(np.nanmax(np.abs(np.concatenate(points)), initial=1e-6)) * 1.06
    return -largest, largest


def _legend(states: Mapping[str, Sequence[Panel]], classes: Sequence[str]) -> list[Any]:
    from matplotlib.lines import Line2D

    def line(label: str, marker: str, color: str, **style: Any) -> Any:
        return Line2D([], [], linestyle="", marker=marker, color=color, label=label, markersize=5, **style)

    handles = [line(name, "o", color_of(i)) for i, name in enumerate(classes)]
    for name, marker in markers_of(states).items():
        if name is not ACROSS:
            handles.append(line(name, marker, "#555555"))
    if classes:
        handles.append(line("prototype", "o", "white", markeredgecolor=_INK))
    if classes and ACROSS in markers_of(states):
        handles.append(line("prototype across modalities", "*", "white", markeredgecolor=_INK))
    return handles


@contextmanager
def _plain() -> Any:
    matplotlib = need("matplotlib", "bench")
    # What a matplotlibrc in the working folder says does not count.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
