"""What a report holds, before it is a page: sections of sentences, tables and pictures.

All text is plain; the page escapes it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmfusion.comparison.report.canvas import Picture


@dataclass(frozen=True)
class Paragraph:
    """Sentences.

    Attributes:
        text: Plain.
        kind: ``text``, ``answer`` (what to remember) or ``missing`` (what is not there).
    """

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Bullets:
    """Points.

    Attributes:
        items: Plain.
        kind: ``text`` or ``warning``.
        title: Above a warning.
    """

    items: tuple[str, ...]
    kind: str = "text"
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Cells as a reader sees them.

    Attributes:
        caption: What it is.
        columns: Names.
        rows: Each as long as ``columns``; the first cell names the row.
        numeric: How many columns, counted from the right, are aligned to the right.
        strong: Rows that stand out, as the reference does.
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
    """What most readers will not look at, closed until somebody opens it.

    Attributes:
        title: On the lid.
        blocks: Below it.
    """

    title: str
    blocks: tuple[Paragraph | Table | Figures, ...]


Block = Paragraph | Bullets | Table | Figures | Lid


@dataclass(frozen=True)
class Section:
    """A chapter or a part of one.

    Attributes:
        key: Unique on the page, fit for an anchor.
        title: Plain.
        blocks: In order.
        parts: Sections below it.
    """

    key: str
    title: str
    blocks: tuple[Block, ...] = ()
    parts: "tuple[Section, ...]" = ()


@dataclass(frozen=True)
class Document:
    """The whole.

    Attributes:
        title: Plain.
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
