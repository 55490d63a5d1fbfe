import dataclasses
from html.parser import HTMLParser

import pytest

from helpers import made_analyses
from mmfusion.comparison.report import pages

pytest.importorskip("matplotlib")
EVIL = "<script>alert(1)</script>"
VOID = {"meta", "link"}


class Reader(HTMLParser):
    """Open tags are closed in their order; keeps tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.text.append((self.open[-1], data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def rendered() -> tuple[str, str]:
    """A page and its Markdown, with hostile names wherever a user gives one."""
    [bare] = made_analyses.bare().comparisons
    evil = dataclasses.replace(bare.methods[0], label=EVIL, settings={"model": {"a|b": "x_y & *z*"}})
    other = dataclasses.replace(bare.methods[0], label="concat", is_reference=True)
    comparison = made_analyses.comparison(
        [evil, other], dataset=EVIL, classes=("a_b", EVIL), cautions=made_analyses.small().comparisons[0].cautions
    )
    page, markdown, _ = pages.render(made_analyses.analysis(comparison), {f"runs/{EVIL}": "unfinished"})
    return page, markdown


@pytest.fixture(scope="module")
def page(rendered: tuple[str, str]) -> Reader:
    reader = Reader()
    reader.feed(rendered[0])
    assert not reader.open
    return reader


@pytest.mark.slow
def test_hostile_names_are_escaped(page: Reader) -> None:
    assert not page.of("script")
    tags = {tag for tag, data in page.text if "alert(1)" in data}
    assert tags >= {"h1", "title", "p", "li", "th", "figcaption"}
    assert ("h1", f"Comparison of methods on {EVIL}") in page.text
    assert ("li", f"runs/{EVIL}: unfinished") in page.text


@pytest.mark.slow
def test_page_is_responsive_and_self_contained(page: Reader) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")
    assert [link["href"] for link in page.of("link")] == ["data:,"]
    assert not any("src" in attributes for _, attributes in page.tags)
    assert any(":root" in data for tag, data in page.text if tag == "style")


def test_headings_and_contents_match_sections(page: Reader) -> None:
    headings = [(tag, data) for tag, data in page.text if tag in ("h1", "h2", "h3")]
    assert [data for tag, data in headings if tag == "h2"] == [
        "Contents",
        "derm7pt-resnet18",
        "How the numbers were computed",
    ]
    assert [tag for tag, _ in headings].count("h3") == 14
    names = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["aria-labelledby"] for attributes in page.of("section")} <= names
    linked = [str(attributes["href"]).removeprefix("#") for attributes in page.of("a")]
    assert linked == [attributes["id"] for attributes in page.of("section")]


def test_header_cells_have_scope(page: Reader) -> None:
    assert all(attributes["scope"] in ("col", "row") for attributes in page.of("th"))
    captions = [data for tag, data in page.text if tag == "caption"]
    assert captions[0].startswith("Methods by mean AUC on the test set")
    assert len(captions) == len(page.of("table"))
    # In a block of lines each cell has the heading of its column.
    columns = [data for tag, data in page.text if tag == "th"]
    assert {str(cell["data-label"]) for cell in page.of("td")} <= set(columns)
    assert {row.get("class") for row in page.of("tr")} == {None, "strong"}


def test_collapsed_parts_are_closed(page: Reader) -> None:
    assert page.of("details") == [{}] * 5
    assert ("summary", "All other settings") in page.text


def test_markdown_matches_page(rendered: tuple[str, str]) -> None:
    markdown = rendered[1]
    evil = "&lt;script\\>alert(1)&lt;/script\\>"
    assert markdown.startswith(
        f"# Comparison of methods on {evil}\n\n2 methods ({evil} and concat) on {evil}: 2 classes"
    )
    assert f"**1 folder skipped**\n\n- runs/{evil}: unfinished\n\n## derm7pt-resnet18\n\n" in markdown
    assert "\n| method | verdict | rank | AUC |" in markdown
    assert f"\n| {evil} |" in markdown
    assert "\n| **concat (reference)** |  | **2** | **0.800** |" in markdown
    assert f"\n| class | cases |\n| --- | ---: |\n| a\\_b | 160 |\n| {evil} | 106 |\n\n" in markdown
    assert f"\n| {evil} | none | model.a\\|b=x\\_y &amp; \\*z\\* |\n" in markdown
    assert "](figures/c1-forest.svg)\n\n" in markdown
    assert "\n\n\n" not in markdown


def test_empty_report() -> None:
    page, markdown, pictures = pages.render(made_analyses.analysis(), {})
    assert markdown == "# Comparison of methods\n\nThere is nothing to report: there is no finished run.\n"
    assert '<p class="missing">There is nothing to report' in page
    assert pictures == []
