"""The pages on parts of one's own: short enough, and each ends in a part that is used by its name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "guide" / "own"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.stem != "index")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
KINDS = {
    "backbone": r"backbones\.register\(",
    "dataset": r"@planned_dataset\(",
    "image-tokenizer": r"image_tokenizers\.register\(",
    "loss": r"losses\.register\(",
    "map-fusion": r"map_fusions\.register\(",
    "method": r"@method\(",
    "tabular-tokenizer": r"tabular_tokenizers\.register\(",
    "token-fusion": r"token_fusions\.register\(",
    "vector-fusion": r"vector_fusions\.register\(",
}


def test_every_kind_of_part_has_a_page() -> None:
    assert {page.stem for page in PAGES} == set(KINDS)
    index = (FOLDER / "index.md").read_text()
    assert all(f"]({name}.md)" in index for name in KINDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_has_at_most_forty_lines_and_uses_name(page: Path) -> None:
    """The code runs with that of all pages; the dataset's second block writes files in its layout."""
    blocks = BLOCK.findall(page.read_text())
    assert all(len(block.splitlines()) <= 40 for block in blocks)
    assert re.search(KINDS[page.stem], blocks[0])
    assert "Blueprint(" in "".join(blocks)
    assert "create_model(" in "".join(blocks)
