"""Chapter part: reporting checklists, filled from the runs, with the blanks named."""

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from mmfusion.comparison.report import formatting
from mmfusion.comparison.report.chapters.chapter import Chapter, Part
from mmfusion.comparison.report.chapters.checklist_facts import facts

FILES = ("tripod_ai", "claim")


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
        rows = [(item.number, item.asks, *_texts(item, known.get(item.fact, ""))) for item in items]
        tables.append((name, rows, *_counts(rows)))
    title = "Reporting checklists: what is left to write?"
    return Part(chapter.key("checklists"), title, "checklists", chapter.comparison.methods, values={"tables": tables})


def _texts(item: Item, fact: str) -> tuple[str, str]:
    """What the runs say, and the blank: an item that they could have filled and did not is one too."""
    blank = item.authors or ("" if fact else item.asks)
    return fact, formatting.capitalized(blank)


def _counts(rows: Sequence[tuple[str, str, str, str]]) -> tuple[int, int, int]:
    """Items that are filled, those that are partly, and blanks."""
    blank = sum(not fact for _, _, fact, _ in rows)
    partly = sum(bool(left) for *_, left in rows) - blank
    return len(rows) - partly - blank, partly, blank
