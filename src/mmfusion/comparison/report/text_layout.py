"""Width of text in pixels, and lines that fit: a label is never cut."""

import re
import unicodedata
import warnings
from functools import cache

from mmfusion.comparison.report.canvas import FONT, clean
from mmfusion.utils.optional import need

LINE = 19
"""Height of a line in pixels."""

# A word with the space or sign behind it, where a line may end.
_WORD = re.compile(r"[^\s\-_,:;=()\[\]/+.|]*[\s\-_,:;=()\[\]/+.|]?")


@cache
def text_width(text: str, *, bold: bool = False) -> float:
    """Width of a text in a figure's font size, in the widest font that the page may have."""
    need("matplotlib", "bench")
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=FONT)
    # The font has no full-width letters; these are as wide as they are high.
    known = "".join("\u2014" if unicodedata.east_asian_width(letter) in "WF" else letter for letter in text)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        width, _, _ = text_to_path.get_text_width_height_descent(known, font, False)
    return float(width)


def wrap(text: str, width: float, *, bold: bool = False) -> list[str]:
    """The text in lines of at most that width, broken behind spaces and signs, or anywhere if a word is wider.

    Args:
        text: Any text; its spaces become single ones.
        width: Pixels.
        bold: Whether it is bold.
    """
    lines = [""]
    for word in _WORD.findall(" ".join(clean(text).split())):
        if lines[-1] and text_width((lines[-1] + word).rstrip(), bold=bold) > width:
            lines.append("")
        for letter in [word] if text_width(word.rstrip(), bold=bold) <= width else word:
            if lines[-1] and text_width((lines[-1] + letter).rstrip(), bold=bold) > width:
                lines.append("")
            lines[-1] += letter
    return [line.rstrip() for line in lines]
