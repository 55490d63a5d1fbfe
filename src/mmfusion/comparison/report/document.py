"""Content of a report: sections of sentences, tables and pictures.

All text is plain; the renderers escape it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmfusion.comparison.report.canvas import Picture


@dataclass(frozen=True)
class Paragraph:
    """Sentences.

    Attributes:
        text: Plain text.
        kind: ``text``, ``answer`` (the main result) or ``missing`` (a note on missing data).
    """

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of points.

    Attributes:
        items: Plain text.
        kind: ``text`` or ``warning``.
        title: Title of a warning.
    """

    items: tuple[str, ...]
    kind: str = "text"
    title: str = ""


@dataclass(frozen=True)
class Table:
    """A table of formatted cells.

    Attributes:
        caption: Its caption.
        columns: Names.
        rows: Each as long as ``columns``; the first cell names the row.
        numeric: Number of columns, counted from the right, that are aligned to the right.
        strong: Highlighted rows, such as the reference.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: int = 0
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figures:
    """Pictures side by side where there is room.

    Attributes:
        pictures: Each with its title.
    """

    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Lid:
    """Details that are collapsed at first.

    Attributes:
        title: Their summary.
        blocks: Their content.
    """

    title: str
    blocks: tuple[Paragraph | Table | Figures, ...]


Block = Paragraph | Bullets | Table | Figures | Lid


@dataclass(frozen=True)
class Section:
    """A chapter or a part of one.

    Attributes:
        key: Unique on the page, fit for an anchor.
        title: Plain text.
        blocks: In order.
        parts: Its subsections.
    """

    key: str
    title: str
    blocks: tuple[Block, ...] = ()
    parts: "tuple[Section, ...]" = ()


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: Plain text.
        lead: What was compared, on what, and the answer.
        sections: Chapters.
    """

    title: str
    lead: tuple[Block, ...]
    sections: tuple[Section, ...]

    def pictures(self) -> list[Picture]:
        """All, in order."""

        def below(blocks: Iterable[Block]) -> Iterator[Picture]:
            for block in blocks:
                if isinstance(block, Figures):
                    yield from block.pictures
                elif isinstance(block, Lid):
                    yield from below(block.blocks)

        def of(section: Section) -> Iterator[Picture]:
            yield from below(section.blocks)
            for part in section.parts:
                yield from of(part)

        return [picture for section in self.sections for picture in of(section)]
