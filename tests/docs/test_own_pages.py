"""The pages on adding a part are short: its code takes at most forty lines. That it runs, another test holds."""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "guide" / "own").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_part_takes_forty_lines_at_most(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert all(len(block.splitlines()) <= 40 for block in blocks)


def test_the_page_on_losses_is_among_them() -> None:
    assert "loss" in {page.stem for page in PAGES}
