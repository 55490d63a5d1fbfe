"""Every registered model stands in the overview, and has a page of the same five headings."""

import re
from pathlib import Path

import pytest
import torch

import mmfusion as mmf
from helpers.small import make_spec

METHODS = Path(__file__).parents[2] / "docs" / "methods"
HEADINGS = ["Idea", "Diagram", "Equations", "What it costs", "How to use"]
ROW = re.compile(r"^\| (?P<names>[^|]*) \|(?P<cells>.*)\|$", re.MULTILINE)
LINK = re.compile(r"\[`(?P<name>[\w-]+)`\]\((?P<page>[\w-]+\.md)\)")


def linked() -> dict[str, str]:
    """The page of each name that the overview links."""
    table = (METHODS / "index.md").read_text()
    return {link["name"]: link["page"] for row in ROW.finditer(table) for link in LINK.finditer(row["names"])}


@pytest.mark.parametrize("name", mmf.registry.models.list())
def test_every_model_has_a_page(name: str) -> None:
    page = METHODS / linked()[name]
    text = page.read_text()
    found = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [heading for heading in found if heading in HEADINGS] == HEADINGS
    assert f'create_model("{name}"' in text
    assert "speed.py models --model" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", mmf.registry.models.list())
def test_required_modalities_are_documented(name: str) -> None:
    """A spec without them raises an error that names the method and them, as its page does; any other works."""
    refusals: dict[tuple[int, int], str] = {}
    for images, tables in ((2, 0), (0, 2)):  # the contract builds all with both
        try:
            with torch.device("meta"):
                mmf.create_model(name, make_spec(images=images, tables=tables))
        except ValueError as error:
            refusals[images, tables] = str(error)
    assert all(0 in lacking and f"model '{name}': " in text for lacking, text in refusals.items()), refusals
    page = (METHODS / linked()[name]).read_text()
    assert bool(re.search(rf"^`{name.removesuffix('-image')}` needs", page, re.MULTILINE)) == bool(refusals)


def test_overview_table_is_complete() -> None:
    """Five cells per row; the last two say where the table enters and what happens without a modality."""
    rows = [row for row in ROW.finditer((METHODS / "index.md").read_text()) if "`" in row["names"]]
    names = {name for row in rows for name in re.findall(r"`([\w-]+)`", row["names"])}
    assert set(mmf.registry.models.list()) <= names
    assert all(row["cells"].count("|") == 3 for row in rows)
    for row in rows:
        if LINK.search(row["names"]):
            assert all(cell.strip() for cell in row["cells"].split("|")[1:])
