"""The gap as a fragment of HTML that needs nothing else: pictures, numbers with their intervals, and what they are."""

import base64
import html
import math
from collections.abc import Mapping, Sequence

import pandas as pd

from mmfusion.experiments.modality_gap.gap_panels import ACROSS, Panel
from mmfusion.experiments.modality_gap.gap_picture import color_of, markers_of, pictures

CHANGE = "change"
MEASURES = {
    "distance": "Distance of the two modalities' mean directions, 0 to 2.",
    "modality_share": "Share of the variance of both modalities' directions together that lies between the modalities.",
    "alignment": "Mean of |u - v| to the power {alpha:g} between the two directions of a case; 0 where they are one.",
    "prototype_distance": "Mean over the classes of the distance between a class's prototypes in the two modalities.",
    "class_share": "Share of the variance that lies between the classes; 0 by chance.",
    "uniformity": "Log of the mean of exp(-{t:g} |u - v|²) over pairs of cases; 0 where all directions are one.",
}
"""What each number is."""
_SHAPES = {"o": "●", "^": "▲", "s": "■", "D": "◆", "v": "▼", "P": "✚", "X": "✖", "*": "★"}
_STYLE = """
.gap{font:14px/1.45 system-ui,sans-serif;max-width:1200px}
.gap figure{margin:0;flex:1 1 150px;max-width:360px}.gap img{width:100%;height:auto;background:#fff}
.gap .row{display:flex;flex-wrap:wrap;gap:8px}.gap figcaption{font-size:12px}
.gap .wide{overflow-x:auto}.gap table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.gap td,.gap th{padding:2px 10px 2px 0;text-align:left;white-space:nowrap;border-bottom:1px solid #8884}
.gap .key span{margin-right:1em;white-space:nowrap}.gap .of{opacity:.75}
"""


def fragment(
    states: Mapping[str, Sequence[Panel]],
    numbers: pd.DataFrame,
    classes: Sequence[str],
    title: str,
    about: str,
    constants: Mapping[str, float],
) -> str:
    """One ``<section>`` with its style and pictures inside.

    Args:
        states: Panels by the state of the model.
        numbers: As of :attr:`~mmfusion.experiments.modality_gap.gap.ModalityGap.numbers`.
        classes: Names of the classes; empty without labels.
        title: Its heading.
        about: A sentence on the cases.
        constants: Values of ``alpha`` and ``t``.
    """
    escape = html.escape
    parts = [f'<section class="gap"><style>{_STYLE}</style><h2>{escape(title)}</h2><p>{escape(about)}</p>']
    parts.append(f'<p class="key">{_key(states, classes)}</p>')
    drawn = pictures(states)
    for state, panels in states.items():
        figures = [_figure(state, panel, png) for panel, png in zip(panels, drawn.get(state, []))]
        parts.append(f'<h3>{escape(state.capitalize())}</h3><div class="row">{"".join(figures)}</div>')
    parts.append(f'<h3>Numbers</h3><div class="wide">{_table(numbers)}</div><ul>')
    parts += [
        f"<li><b>{_words(measure)}</b>: {escape(MEASURES[measure].format(**constants))}</li>"
        for measure in dict.fromkeys(numbers["measure"])
    ]
    parts.append(
        "</ul><p>In parentheses: 95 % intervals for other cases, by a bootstrap of cases or groups. All numbers are of "
        "directions, and without the bias of sample means, so that shares can be slightly below 0. A projection to two "
        "axes bends or hides distances: the numbers decide, not the picture.</p></section>"
    )
    return "\n".join(parts)


def _key(states: Mapping[str, Sequence[Panel]], classes: Sequence[str]) -> str:
    dots = [f'<span><b style="color:{color_of(i)}">●</b> {html.escape(name)}</span>' for i, name in enumerate(classes)]
    for name, marker in markers_of(states).items():
        label = "prototypes across all modalities" if name is ACROSS else str(name)
        dots.append(f"<span>{_SHAPES[marker]} {html.escape(label)}</span>")
    if classes:
        dots.append("<span>large, dark edge: prototype of a class</span>")
    return " ".join(dots)


def _figure(state: str, panel: Panel, png: bytes) -> str:
    caption = html.escape(f"{panel.title}: {panel.projection}")
    source = base64.b64encode(png).decode()
    alt = html.escape(f"Embeddings of {panel.title} {state}, {panel.projection}")
    return f'<figure><img alt="{alt}" src="data:image/png;base64,{source}"><figcaption>{caption}</figcaption></figure>'


def _table(numbers: pd.DataFrame) -> str:
    columns = list(dict.fromkeys(numbers["when"]))
    rows = [f"<tr><th>number</th><th>of</th>{''.join(f'<th>{html.escape(when)}</th>' for when in columns)}</tr>"]
    for (measure, of, to), members in numbers.groupby(["measure", "of", "to"], sort=False):
        by_state = dict(zip(members["when"], members[["value", "low", "high"]].to_numpy(dtype=float).tolist()))
        cells = "".join(f"<td>{_cell(*by_state[when], signed=when == CHANGE)}</td>" for when in columns)
        sets = html.escape(f"{of} and {to}" if to else str(of))
        rows.append(f'<tr><td>{_words(str(measure))}</td><td class="of">{sets}</td>{cells}</tr>')
    return f"<table>{''.join(rows)}</table>"


def _cell(value: float, low: float, high: float, *, signed: bool) -> str:
    sign = "+" if signed else ""
    if math.isnan(value):
        return "undefined"
    interval = "" if math.isnan(low) else f" ({low:{sign}.3f} to {high:{sign}.3f})"
    return f"{value:{sign}.3f}{interval}".replace("-", "\N{MINUS SIGN}")


def _words(measure: str) -> str:
    return measure.replace("_", " ")
