"""Figures of matplotlib as SVG for a page: the same bytes for the same numbers."""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from xml.etree import ElementTree

from mmfusion.comparison.report.palette import GRID, INK, MUTED, NAMES, PAPER
from mmfusion.utils.optional import need

WIDTH = 336
"""Pixels: the width between the margins of a phone of 360 pixels, and of one of several panels in a row."""

WIDE = 1000
"""Pixels: the width of a picture that has a row of a large screen for itself."""

FONT = 15
"""Size of all text in pixels at that width."""

FAMILY = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', Arial, sans-serif"

_RC = {
    "svg.fonttype": "none",
    # Names inside the file come from this and the contents, so that they are the same every time.
    "svg.hashsalt": "mmfusion",
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.labelsize": FONT,
    "xtick.labelsize": FONT,
    "ytick.labelsize": FONT,
    # A class may be called $x$.
    "text.parse_math": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "axes.unicode_minus": True,
    "path.simplify_threshold": 0.2,
}
_SPACE = re.compile(r"\{[^}]*\}")
_COLOR = re.compile(r"#[0-9a-f]{6}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]")


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Attributes:
        key: Unique on its page, fit for a file's name.
        title: A few words.
        description: Text for readers who cannot see it.
        width: Pixels at which its text has :data:`FONT`.
        height: Likewise.
        inline: SVG for an HTML page; its colors are variables of the page.
        file: Self-contained SVG on white paper.
        phone: The same for a narrow screen, where it is drawn differently; empty if it is not.
        paint: What draws it, for :func:`png`.
    """

    key: str
    title: str
    description: str
    width: float
    height: float
    inline: str
    file: str
    phone: str = ""
    paint: Callable[[Any], None] | None = field(default=None, repr=False, compare=False)


def clean(text: str) -> str:
    """Text without the characters that are invalid in XML and HTML."""
    return _CONTROL.sub("\ufffd", text)


def full_width(key: str, draw: Callable[[str, float], Picture]) -> Picture:
    """A picture over the whole width of a screen: drawn for large ones and for phones, with text of the same size.

    Args:
        key: Of the picture.
        draw: Draws it, given a key and a width in pixels.
    """
    return replace(draw(key, WIDE), phone=draw(f"{key}-phone", WIDTH).inline)


def picture(
    key: str, title: str, description: str, paint: Callable[[Any], None], *, height: float, width: float = WIDTH
) -> Picture:
    """Draw a figure.

    Args:
        key: As in :class:`Picture`.
        title: As in :class:`Picture`.
        description: As in :class:`Picture`.
        paint: Draws on a ``matplotlib.figure.Figure``; a unit of its fonts and lines is a pixel.
        height: Pixels.
        width: Pixels.
    """
    file = io.BytesIO()
    with _figure(width, height, "svg") as figure:
        paint(figure)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = _plain(file.getvalue(), key)
    title, description = clean(title), clean(description)
    _name(root, key, title, description)
    alone = ElementTree.tostring(root, encoding="unicode")
    for element in root.iter():
        if "style" in element.attrib:
            element.set("style", _COLOR.sub(_variable, element.attrib["style"]))
    inline = ElementTree.tostring(root, encoding="unicode")
    header = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
    paper = f'<rect width="100%" height="100%" fill="{PAPER}" />'
    # Behind everything, but after the title.
    alone = alone.replace("<svg ", header, 1).replace("</desc>", f"</desc>{paper}", 1)
    return Picture(key, title, description, width, height, inline, alone + "\n", paint=paint)


def png(picture: Picture, scale: float = 2.0) -> bytes:
    """A picture as PNG on white paper, at so many pixels for each of its own.

    Raises:
        ValueError: If it was not drawn by :func:`picture`.
    """
    if picture.paint is None:
        raise ValueError(f"nothing draws {picture.key}")
    file = io.BytesIO()
    with _figure(picture.width, picture.height, "agg") as figure:
        picture.paint(figure)
        figure.savefig(file, format="png", dpi=72 * scale, facecolor=PAPER, metadata={"Software": None})
    return file.getvalue()


@contextmanager
def _figure(width: float, height: float, backend: Literal["svg", "agg"]) -> Iterator[Any]:
    """An empty figure in the report's style; a unit of its fonts and lines is a pixel."""
    matplotlib = need("matplotlib", "bench")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        # Ignore a matplotlibrc in the working folder: it may have texts set by another program.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        # The page's font has what matplotlib's lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        # An SVG's point is 1/72 inch for matplotlib, whatever the resolution.
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        (FigureCanvasSVG if backend == "svg" else FigureCanvasAgg)(figure)
        yield figure


def _plain(svg: bytes, key: str) -> ElementTree.Element:
    """SVG without namespaces, metadata and style sheet (it would apply to the whole page); ids by ``key``."""
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        element.tag = _SPACE.sub("", element.tag)
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            plain = _SPACE.sub("", name)
            if plain == "id":
                value = f"{key}-{value}"
            elif plain == "href":
                value = f"#{key}-{value[1:]}"
            elif plain == "clip-path":
                value = value.replace("#", f"#{key}-")
            elif plain == "style" and element.tag == "text":
                # The page sets the font.
                value = "; ".join(part for part in value.split("; ") if not part.startswith("font-family"))
            element.set(plain, value)
        # Indentation; only text elements hold text.
        if element.tag != "text" and not (element.text or "").strip():
            element.text = None
        element.tail = None
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("metadata", "style") or (child.tag == "defs" and not len(child)):
                parent.remove(child)
    for child in list(root):
        if child.tag == "defs" and all(grandchild.tag == "style" for grandchild in child):
            root.remove(child)
    used = {element.attrib.get(name) for element in root.iter() for name in ("href", "clip-path")}
    for element in root.iter():
        identifier = element.attrib.get("id")
        if identifier is not None and f"#{identifier}" not in used and f"url(#{identifier})" not in used:
            del element.attrib["id"]
    return root


def _name(root: ElementTree.Element, key: str, title: str, description: str) -> None:
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib |= {
        "viewBox": box,
        "role": "img",
        "aria-labelledby": f"{key}-title {key}-desc",
        "font-family": FAMILY,
        "stroke-linejoin": "round",
    }
    for number, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(tag, {"id": f"{key}-{tag}"})
        element.text = text
        root.insert(number, element)


def _variable(match: re.Match[str]) -> str:
    name = NAMES.get(match[0])
    return f"var(--{name})" if name else match[0]
