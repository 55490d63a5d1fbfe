"""Colors, line styles and markers of the methods, readable in color, in grey and by color-blind readers.

Colors are those of Okabe and Ito (Color universal design, 2008), adjusted to contrast with the paper and with each
other in every kind of color vision. No two series differ in color alone: each has a line style and a marker too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Style(NamedTuple):
    """Style of a series.

    Attributes:
        color: Color on light paper; :data:`DARK` has its counterpart.
        line: Line style of matplotlib.
        marker: Marker of matplotlib.
        width: Width of the line.
        prominent: Whether it is labeled; the others are grey, without a label.
    """

    color: str
    line: Any
    marker: str
    width: float
    prominent: bool


INK, MUTED, REST, GRID, PAPER = "#1a1a1a", "#595959", "#868686", "#dcdcdc", "#ffffff"
SERIES = ("#0057a0", "#d55e00", "#009e73", "#b0568f")
DARK = {
    INK: "#ececec",
    MUTED: "#b4b4b4",
    REST: "#8f8f8f",
    GRID: "#3c4146",
    PAPER: "#16191c",
    SERIES[0]: "#3d93d6",
    SERIES[1]: "#ff8f4a",
    SERIES[2]: "#35c794",
    SERIES[3]: "#e6a0cb",
}
NAMES = {
    INK: "ink",
    MUTED: "muted",
    REST: "rest",
    GRID: "grid",
    PAPER: "paper",
    **{color: f"series-{number}" for number, color in enumerate(SERIES, start=1)},
}
"""Variables of the page's style sheet, which has light and dark values."""

DOT = "None"
"""Line style of what is a point without a line."""

REFERENCE = Style(INK, "solid", "D", 2.2, True)
OTHER = Style(REST, "solid", "o", 1.0, False)
_LINES: tuple[Any, ...] = ("solid", (0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (1.5, 1.5)))
_MARKERS = ("o", "s", "^", "v")


def styles(labels: Sequence[str], reference: str | None) -> dict[str, Style]:
    """A style for each method.

    Args:
        labels: Best first.
        reference: The one that the others are tested against; None for none.

    Returns:
        The reference in ink, the best four others in the colors, the rest grey.
    """
    out = dict.fromkeys(labels, OTHER)
    if reference in out:
        out[reference] = REFERENCE
    best = [label for label in labels if label != reference][: len(SERIES)]
    for label, color, line, marker in zip(best, SERIES, _LINES, _MARKERS):
        out[label] = Style(color, line, marker, 2.2, True)
    return out


def foremost(style: Style) -> Style:
    """Style in a picture of the series' own: a grey one is no longer in the background."""
    return style if style.prominent else Style(MUTED, style.line, style.marker, 2.0, True)
