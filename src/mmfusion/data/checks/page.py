"""A page of a check: thumbnails of each class, images of the warnings, and all lines."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmfusion.data.checks.checked_cases import Cohort
from mmfusion.data.checks.finding import Finding
from mmfusion.data.checks.image_files import at_size
from mmfusion.data.datasets.plan import Plan
from mmfusion.data.images.source import Source
from mmfusion.data.images.sources import find_images
from mmfusion.data.whole_files import replace_file
from mmfusion.utils.optional import need

SIDE = 112
"""Side of a thumbnail in pixels."""
PER_CLASS = 16
"""Most thumbnails of a class and image column."""
_OF_WARNING = 12


@dataclass(frozen=True)
class _Picture:
    """A thumbnail: its content for the page, or why there is none; and what is below it.

    Attributes:
        content: PNG, base64; empty if there is none.
        fault: Why there is none.
        row: Label of its row.
        set: ``train``, ``validation`` or ``test``; empty for none.
        about: Set and class, as far as they are known.
        name: Of its file.
    """

    content: str
    fault: str
    row: str
    set: str
    about: str
    name: str


def write_page(
    path: Path | str, plan: Plan, lines: Sequence[str], warnings: Sequence[Finding], faults: Sequence[str]
) -> None:
    """Write one HTML file that needs no other: it holds images of patients.

    Args:
        path: The file; an existing one is replaced.
        plan: The dataset.
        lines: Counts and notes.
        warnings: Of the check; those of duplicates are shown with their images.
        faults: Of the check.

    Raises:
        ImportError: If jinja2 or Pillow is not installed.
        OSError: If the file cannot be written.
    """
    jinja2 = need("jinja2", "bench")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__, "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    drawer = _Drawer(plan)
    shown = [(finding, drawer.rows(finding.rows) if finding.topic == "duplicates" else []) for finding in warnings]
    text = environment.get_template("page.html.jinja").render(
        name=plan.name,
        lines=lines,
        warnings=shown,
        faults=faults,
        columns=drawer.by_class(),
        side=SIDE,
        counted=_counted,
    )
    replace_file(Path(path), text.encode())


def _counted(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"


class _Drawer:
    """Draws images of a plan's cases."""

    def __init__(self, plan: Plan) -> None:
        self._sources = plan.reader.images
        self._cohort = Cohort.of(plan)
        files = find_images(self._sources, plan.frame, plan.root) if self._sources else None
        self._files = {name: files.each(name) for name in self._sources} if files is not None else {}

    def by_class(self) -> list[tuple[str, list[tuple[str, int, list[_Picture]]]]]:
        """By image column and class: the number of images, and some of them, evenly over the table."""
        columns = []
        for name, source in self._sources.items():
            codes = np.array([self._cohort.codes[place] for place, _ in self._files[name]], dtype=np.int64)
            classes = []
            for code, label in [*enumerate(self._cohort.classes), (-1, "without a label")]:
                files = np.flatnonzero(codes == code).tolist()
                if files:
                    some = files[:: -(-len(files) // PER_CLASS)]
                    classes.append((label, len(files), [self._draw(name, *self._files[name][i]) for i in some]))
            columns.append((source.column, classes))
        return columns

    def rows(self, rows: Sequence[Any]) -> list[_Picture]:
        """All images of some rows."""
        places = self._cohort.frame.index.get_indexer(pd.Index(rows[:_OF_WARNING]))
        return [
            self._draw(name, place, path)
            for chosen in places.tolist()
            for name in self._sources
            for place, path in self._files[name]
            if place == chosen
        ]

    def _draw(self, name: str, place: int, path: Path) -> _Picture:
        of_set, label = self._cohort.sets[place], self._cohort.label(place)
        about = ", ".join(text for text in (of_set, label) if text)
        words = (str(self._cohort.frame.index[place]), of_set, about)
        try:
            return _Picture(picture(self._sources[name], path), "", *words, path.name)
        except (OSError, ValueError) as error:
            return _Picture("", str(error), *words, path.name)


def picture(source: Source, path: Path) -> str:
    """An image of a file for a page, as base64 of a PNG; of a volume its middle slice.

    Raises:
        ValueError: If the file cannot be decoded.
    """
    pil: Any = need("PIL.Image", "bench")
    pixels = np.moveaxis(at_size(source, SIDE).decode(path), 0, -1)
    if pixels.ndim == 4:
        pixels = pixels[:, :, pixels.shape[2] // 2, :1].astype(np.float32)
        low, high = float(pixels.min()), float(pixels.max())
        pixels = ((pixels - low) * (255 / max(high - low, 1e-6))).astype(np.uint8)
    image = pil.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels[..., :3])
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
