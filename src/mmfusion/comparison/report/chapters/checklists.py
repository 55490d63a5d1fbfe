"""Chapter part: reporting checklists, filled from the runs, with the blanks named."""

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from mmfusion.comparison.report.chapters.chapter import Chapter, Part
from mmfusion.comparison.report.chapters.checklist_facts import facts

FILES = ("tripod_ai", "claim")
BLANK = "to be filled by the authors: "


class Item(NamedTuple):
    """An item of a checklist.

    Attributes:
        number: Its number there.
        asks: What it asks for, in words of this package.
        fact: What the runs know of it, one of :data:`~.checklist_facts.NAMES`; empty for nothing.
        authors: What only the authors know; empty if the runs may know all.
    """

    number: str
    asks: str
    fact: str = ""
    authors: str = ""


@cache
def read(name: str) -> tuple[str, tuple[Item, ...]]:
    """Name and items of a checklist."""
    file = resources.files("mmfusion.comparison.report") / "checklists" / f"{name}.toml"
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    return content["name"], tuple(Item(**item) for item in content["items"])


def part(chapter: Chapter) -> Part:
    """One table per checklist."""
    known = facts(chapter)
    tables = []
    for file in FILES:
        name, items = read(file)
        rows = [(item.number, item.asks, _text(item, known.get(item.fact, ""))) for item in items]
        tables.append((name, rows, *_counts(rows)))
    title = "Reporting checklists: what is left to write?"
    return Part(chapter.key("checklists"), title, "checklists", chapter.comparison.methods, values={"tables": tables})


def _text(item: Item, fact: str) -> str:
    """What the runs say, and the blank: an item that they could have filled and did not is one too."""
    blank = BLANK + (item.authors or item.asks[:1].lower() + item.asks[1:]) if item.authors or not fact else ""
    return " ".join(text for text in (fact, blank if not fact else blank[:1].upper() + blank[1:]) if text)


def _counts(rows: Sequence[tuple[str, str, str]]) -> tuple[int, int, int]:
    """Items that are filled, those that are partly, and blanks."""
    blank = sum(text.startswith(BLANK) for *_, text in rows)
    partly = sum(BLANK in text.lower() for *_, text in rows) - blank
    return len(rows) - partly - blank, partly, blank
