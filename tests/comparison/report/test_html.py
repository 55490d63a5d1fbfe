from html.parser import HTMLParser

import pytest

from mmfusion.comparison.report import html, markdown
from mmfusion.comparison.report.canvas import Picture
from mmfusion.comparison.report.document import Bullets, Document, Figures, Lid, Paragraph, Section, Table

EVIL = "<script>alert(1)</script>"
PICTURE = Picture("c1-x", f"Title {EVIL}", "A | b", 336, 200, '<svg viewBox="0 0 1 1"></svg>', "<svg/>")
TABLE = Table("What it is", ("method", "AUC"), (("a|b", "0.9"), (EVIL, "0.8")), numeric=1, strong=frozenset({1}))
DOCUMENT = Document(
    f"On {EVIL}",
    (Paragraph("a_b & c", kind="answer"), Bullets((EVIL,), kind="warning", title="1 folder skipped")),
    (
        Section(
            "c1",
            "Chapter",
            (Paragraph("Nothing.", kind="missing"),),
            (Section("c1-part", "Part", (TABLE, Figures((PICTURE,)), Lid("More", (TABLE,)))),),
        ),
    ),
)

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
def page() -> Reader:
    reader = Reader()
    reader.feed(html.render(DOCUMENT))
    assert not reader.open
    return reader


def test_what_users_write_is_text(page: Reader) -> None:
    assert not page.of("script")
    assert [data for tag, data in page.text if tag in ("h1", "figcaption", "li", "th") and "alert" in data] == [
        f"On {EVIL}",
        EVIL,
        EVIL,
        f"Title {EVIL}",
        EVIL,
    ]


def test_a_page_for_phones_that_needs_nothing_else(page: Reader) -> None:
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.of("meta")
    assert [link["href"] for link in page.of("link")] == ["data:,"]
    assert not any("src" in attributes for _, attributes in page.tags)
    assert [attributes["href"] for attributes in page.of("a")] == ["#c1", "#c1-part"]


def test_headings_follow_the_sections(page: Reader) -> None:
    assert [(tag, data) for tag, data in page.text if tag in ("h1", "h2", "h3")][1:] == [
        ("h2", "Contents"),
        ("h2", "Chapter"),
        ("h3", "Part"),
    ]
    names = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["aria-labelledby"] for attributes in page.of("section")} <= names


def test_cells_say_what_they_head(page: Reader) -> None:
    heads = page.of("th")
    assert all(attributes["scope"] in ("col", "row") for attributes in heads)
    assert sum(attributes["scope"] == "col" for attributes in heads) == 4
    assert [box["aria-label"] for box in page.of("div") if box.get("class") == "scroll"] == ["What it is"] * 2
    assert [tag for tag, data in page.text if data == "What it is"] == ["caption"] * 2


def test_a_lid_is_closed(page: Reader) -> None:
    assert page.of("details") == [{}]
    assert ("summary", "More") in page.text


def test_markdown_says_the_same() -> None:
    assert markdown.render(DOCUMENT) == (
        "# On &lt;script\\>alert(1)&lt;/script\\>\n\n"
        "**a\\_b &amp; c**\n\n"
        "**1 folder skipped**\n\n"
        "- &lt;script\\>alert(1)&lt;/script\\>\n\n"
        "## Chapter\n\n"
        "Nothing.\n\n"
        "### Part\n\n"
        "What it is\n\n"
        "| method | AUC |\n| --- | ---: |\n| a\\|b | 0.9 |\n"
        "| **&lt;script\\>alert(1)&lt;/script\\>** | **0.8** |\n\n"
        "**Title &lt;script\\>alert(1)&lt;/script\\>**\n\n"
        "![A \\| b](figures/c1-x.svg)\n\n"
        "*More*\n\n"
        "What it is\n\n"
        "| method | AUC |\n| --- | ---: |\n| a\\|b | 0.9 |\n"
        "| **&lt;script\\>alert(1)&lt;/script\\>** | **0.8** |\n"
    )


def test_pictures_under_lids_are_found() -> None:
    below = Section("s", "S", (Lid("More", (Figures((PICTURE,)),)),))
    assert Document("t", (), (Section("c", "C", (Figures((PICTURE,)),), (below,)),)).pictures() == [PICTURE, PICTURE]
