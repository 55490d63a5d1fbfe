"""A document as one self-contained page: no script, no font, no external file."""

import html
from importlib import resources

from mmfusion.comparison.report.canvas import Picture, clean
from mmfusion.comparison.report.document import Block, Bullets, Document, Lid, Paragraph, Section, Table


def render(document: Document) -> str:
    """The page.

    Args:
        document: Its plain text is escaped here, and here alone.
    """
    title = _text(document.title)
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    contents = "".join(_entry(section) for section in document.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{title}</h1>\n{''.join(map(_block, document.lead))}</header>\n"
        f'<nav aria-label="Contents">\n<h2>Contents</h2>\n<ul>\n{contents}</ul>\n</nav>\n'
        f"<main>\n{''.join(_section(section, 2) for section in document.sections)}</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return html.escape(clean(text), quote=True)


def _entry(section: Section) -> str:
    inner = "".join(_entry(part) for part in section.parts)
    below = f"<ul>\n{inner}</ul>\n" if inner else ""
    return f'<li><a href="#{_text(section.key)}">{_text(section.title)}</a>{below}</li>\n'


def _section(section: Section, level: int) -> str:
    key = _text(section.key)
    return (
        f'<section id="{key}" aria-labelledby="{key}-heading">\n'
        f'<h{level} id="{key}-heading">{_text(section.title)}</h{level}>\n'
        f"{''.join(map(_block, section.blocks))}"
        f"{''.join(_section(part, level + 1) for part in section.parts)}</section>\n"
    )


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f'<p class="{block.kind}">{_text(block.text)}</p>\n'
    if isinstance(block, Bullets):
        items = "".join(f"<li>{_text(item)}</li>\n" for item in block.items)
        if block.kind != "warning":
            return f"<ul>\n{items}</ul>\n"
        return (
            f'<div class="warning" role="note"><p><strong>{_text(block.title)}</strong></p><ul>\n{items}</ul></div>\n'
        )
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Lid):
        inner = "".join(map(_block, block.blocks))
        return f"<details>\n<summary>{_text(block.title)}</summary>\n{inner}</details>\n"
    return f'<div class="panels">\n{"".join(map(_figure, block.pictures))}</div>\n'


def _table(table: Table) -> str:
    first = len(table.columns) - table.numeric
    classes = ["n" if column >= first else "" for column in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{_class(name)}>{_text(column)}</th>' for name, column in zip(classes, table.columns)
    )
    body = []
    for number, row in enumerate(table.rows):
        cells = "".join(f"<td{_class(name)}>{_text(cell)}</td>" for name, cell in zip(classes[1:], row[1:]))
        strong = ' class="strong"' if number in table.strong else ""
        body.append(f'<tr{strong}><th scope="row">{_text(row[0])}</th>{cells}</tr>\n')
    # A box that scrolls must be reachable by keyboard, and named for those who cannot see it.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_text(table.caption)}">\n<table>\n'
        f"<caption>{_text(table.caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{''.join(body)}</tbody>\n</table>\n</div>\n"
    )


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _figure(picture: Picture) -> str:
    # Never narrower than its text can bear; a wider one scrolls in its own box.
    return (
        f'<figure id="{_text(picture.key)}">\n<figcaption>{_text(picture.title)}</figcaption>\n'
        f'<div class="drawing" style="max-width:{1.2 * picture.width:.0f}px;'
        f'--least:{picture.width * 0.94:.0f}px">{picture.inline}</div>\n</figure>\n'
    )
