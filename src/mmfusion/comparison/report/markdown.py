"""A document as Markdown, with its pictures as files."""

import re

from mmfusion.comparison.report.canvas import Picture, clean
from mmfusion.comparison.report.document import Block, Bullets, Document, Lid, Paragraph, Section, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$])")
FOLDER = "figures"


def render(document: Document) -> str:
    """The text; its pictures are ``figures/<key>.svg``."""
    parts = [f"# {escape(document.title)}", *(text for block in document.lead for text in _block(block))]
    parts += [text for section in document.sections for text in _section(section, 2)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text on one line in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(clean(text).replace("&", "&amp;").split())).replace("\\<", "&lt;")


def _section(section: Section, level: int) -> list[str]:
    blocks = [f"{'#' * level} {escape(section.title)}", *(text for block in section.blocks for text in _block(block))]
    return blocks + [text for part in section.parts for text in _section(part, level + 1)]


def _block(block: Block) -> list[str]:
    if isinstance(block, Paragraph):
        text = escape(block.text)
        return [f"**{text}**" if block.kind == "answer" else text]
    if isinstance(block, Bullets):
        items = "\n".join(f"- {escape(item)}" for item in block.items)
        return [f"**{escape(block.title)}**", items] if block.title else [items]
    if isinstance(block, Table):
        return [_table(block)]
    if isinstance(block, Lid):
        return [f"*{escape(block.title)}*", *(text for inner in block.blocks for text in _block(inner))]
    return [text for picture in block.pictures for text in _figure(picture)]


def _table(table: Table) -> str:
    first = len(table.columns) - table.numeric
    rule = ["---:" if column >= first else "---" for column in range(len(table.columns))]
    lines = [_line([escape(column) for column in table.columns]), _line(rule)]
    for number, row in enumerate(table.rows):
        cells = [escape(cell) for cell in row]
        lines.append(_line([f"**{cell}**" if number in table.strong and cell else cell for cell in cells]))
    return f"{escape(table.caption)}\n\n" + "\n".join(lines)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figure(picture: Picture) -> list[str]:
    image = f"![{escape(picture.description)}]({FOLDER}/{picture.key}.svg)"
    return [f"**{escape(picture.title)}**", image]
