"""Every registered model stands in the overview, and has a page of the same five headings."""

import re
from pathlib import Path

import pytest

import mmfusion as mmf

METHODS = Path(__file__).parents[2] / "docs" / "methods"
HEADINGS = ["Idea", "Diagram", "Equations", "What it costs", "How to use"]
ROW = re.compile(r"^\| (?P<names>[^|]*) \|(?P<cells>.*)\|$", re.MULTILINE)
LINK = re.compile(r"\[`(?P<name>[\w-]+)`\]\((?P<page>[\w-]+\.md)\)")


def linked() -> dict[str, str]:
    """The page of each name that the overview links."""
    table = (METHODS / "index.md").read_text()
    return {link["name"]: link["page"] for row in ROW.finditer(table) for link in LINK.finditer(row["names"])}


@pytest.mark.parametrize("name", mmf.registry.models.list())
def test_each_model_has_a_page(name: str) -> None:
    page = METHODS / linked()[name]
    text = page.read_text()
    found = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS
    assert f'create_model("{name}"' in text
    assert "speed.py models --model" in text or name == "cfcml"


def test_the_overview_says_what_is_missing() -> None:
    """Five cells a row; the last two say where the table enters and what happens without a modality."""
    rows = [row for row in ROW.finditer((METHODS / "index.md").read_text()) if "`" in row["names"]]
    names = {name for row in rows for name in re.findall(r"`([\w-]+)`", row["names"])}
    assert set(mmf.registry.models.list()) <= names
    assert all(row["cells"].count("|") == 3 for row in rows)
    for row in rows:
        if LINK.search(row["names"]):
            assert all(cell.strip() for cell in row["cells"].split("|")[1:])
