"""The built site: it loads nothing from elsewhere, its links and anchors exist, and no raw markup is left."""

import os
import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

mkdocs_config = pytest.importorskip("mkdocs.config")
from mkdocs.commands.build import build  # noqa: E402  # after the check that mkdocs is installed

ROOT = Path(__file__).parents[2]
STYLE = (ROOT / "docs" / "stylesheets" / "site.css").read_text()
# A hyperlink loads nothing before it is clicked; of <link> only the relations that name a page, not a resource.
PAGES = {"canonical", "prev", "next", "alternate"}
CSS_LOAD = re.compile(r"""(?:url\(|@import\s+)\s*["']?(?P<address>[^"')\s;]+)""")
ROLE = re.compile(r":(?:py:)?(?:class|func|meth|mod|data|attr|exc|obj|const):")
EXTERNAL = re.compile(r"^(?:[a-z]+:)?//", re.IGNORECASE)


class Page(HTMLParser):
    """What a page loads, links to and anchors, and its text outside code blocks."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.text: list[str] = []
        self._pre = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._pre += tag in ("pre", "script", "style")
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.loads += [values[name] for name in ("src", "poster", "data") if name in values]
        self.loads += [part.split()[0] for part in values.get("srcset", "").split(",") if part.strip()]
        self.loads += CSS_LOAD.findall(values.get("style", ""))
        if "href" in values:
            is_page = tag in ("a", "area") or (tag == "link" and values.get("rel") in PAGES)
            (self.links if is_page else self.loads).append(values["href"])

    def handle_endtag(self, tag: str) -> None:
        self._pre -= tag in ("pre", "script", "style")

    def handle_data(self, data: str) -> None:
        if not self._pre:
            self.text.append(data)


def external(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        yield from (f"{path.relative_to(site)} loads {address}" for address in page.loads if EXTERNAL.match(address))
    for path in site.rglob("*.css"):
        addresses = CSS_LOAD.findall(path.read_text())
        yield from (f"{path.relative_to(site)} loads {address}" for address in addresses if EXTERNAL.match(address))


def missing(site: Path, pages: dict[Path, Page]) -> Iterator[str]:
    """Links and resources of a page, as seen from a disk: each ends at a file, and at an anchor of it."""
    for path, page in pages.items():
        if path.name == "404.html":  # served from any folder, so its addresses begin at the root
            continue
        for address in [*page.loads, *page.links]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            if not target.is_file():
                yield f"{path.relative_to(site)}: no file {address}"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{path.relative_to(site)}: no anchor {address}"


@pytest.mark.slow
def test_built_site_is_self_contained(tmp_path: Path) -> None:
    build(mkdocs_config.load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    pages = {path: Page(path.read_text()) for path in tmp_path.rglob("*.html")}
    assert {tmp_path / "index.html", tmp_path / "api" / "losses.html"} <= set(pages)
    assert [name for name, page in pages.items() if ROLE.search(" ".join(page.text))] == []
    losses = re.findall(r'<h[23] id="(mmfusion[\w.]*)"', (tmp_path / "api" / "losses.html").read_text())
    assert losses[0] == "mmfusion.losses"  # what is imported from there comes before the modules behind it
    assert losses.index("mmfusion.losses.LossBank") < losses.index("mmfusion.losses.functional")
    assert "from mmfusion.losses import LossBank" in (tmp_path / "search" / "search_index.json").read_text()
    assert list(external(tmp_path, pages)) == []
    assert list(missing(tmp_path, pages)) == []


@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script src="//host/x.js"></script>', ["//host/x.js"]),
        ('<link rel="stylesheet" href="https://host/x.css">', ["https://host/x.css"]),
        ('<link rel="preconnect" href="https://host">', ["https://host"]),
        ('<img src="a.png" srcset="https://host/b.png 2x, c.png">', ["a.png", "https://host/b.png", "c.png"]),
        ('<p style="background: url(https://host/x.png)">', ["https://host/x.png"]),
        ('<a href="https://host/paper">', []),
    ],
)
def test_loads_are_distinguished_from_links(html: str, loads: list[str]) -> None:
    assert Page(html).loads == loads


def contrast(first: str, second: str) -> float:
    """WCAG's contrast of two colors ``#rrggbb``, 1 to 21."""

    def luminance(color: str) -> float:
        values = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_of_known_colors() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#009485", "#ffffff") == pytest.approx(3.77, abs=0.01)  # the theme's own teal


@pytest.mark.parametrize(
    ("scheme", "variable", "behind"),
    [
        ('primary="teal"', "primary-fg-color", "#ffffff"),  # white text on the header
        ('scheme="default"', "typeset-a-color", "#ffffff"),
        ('scheme="default"', "typeset-a-color", "#f5f5f5"),  # code
        ('scheme="default"', "accent-fg-color", "#ffffff"),
        ('scheme="default"', "default-fg-color--light", "#f5f5f5"),  # comments in code
        ('scheme="slate"', "typeset-a-color", "#272a35"),
        ('scheme="slate"', "accent-fg-color", "#272a35"),
        ('scheme="slate"', "default-fg-color--light", "#363840"),  # a title in the drawer of a phone
    ],
)
def test_text_is_readable(scheme: str, variable: str, behind: str) -> None:
    rule = re.search(rf"\[data-md-color-{scheme}\] \{{(.*?)\}}", STYLE, re.DOTALL)
    assert rule is not None
    color = re.search(rf"--md-{variable}: (#\w{{6}});", rule[1])
    assert color is not None
    assert contrast(color[1], behind) >= 4.5


def theme_colors(scheme: str) -> dict[str, str]:
    """The theme's own colors of code, by name, with ours in their place."""
    material = pytest.importorskip("material")
    styles = Path(material.__file__).parent / "templates" / "assets" / "stylesheets"
    texts = [path.read_text() for kind in ("main", "palette") for path in styles.glob(f"{kind}.*.min.css")]
    if scheme == "slate":
        texts = re.findall(r"\[data-md-color-scheme=slate\]\{([^}]*)\}", "".join(texts))
        texts += re.findall(r'\[data-md-color-scheme="slate"\] \{(.*?)\}', STYLE, re.DOTALL)
    else:
        texts = re.findall(r":root[^{]*\{([^}]*)\}", texts[0])
        texts += re.findall(r'\[data-md-color-scheme="default"\] \{(.*?)\}', STYLE, re.DOTALL)
    return dict(re.findall(r"--md-([\w-]+):\s*(#\w{6})(?![\w])", "".join(texts)))


@pytest.mark.parametrize(("scheme", "behind"), [("default", "#f5f5f5"), ("slate", "#272a35")])
def test_code_is_readable(scheme: str, behind: str) -> None:
    colors = {name: color for name, color in theme_colors(scheme).items() if re.fullmatch(r"code-hl-\w+-color", name)}
    assert len(colors) >= 6
    assert {name: contrast(color, behind) for name, color in colors.items() if contrast(color, behind) < 4.5} == {}


def test_links_are_underlined() -> None:
    assert re.search(r"\.md-typeset a:not\(\.headerlink\) \{\s*text-decoration: underline;", STYLE)


def test_vendored_scripts_have_licenses() -> None:
    scripts = ROOT / "docs" / "javascripts"
    assert "Apache License" in (scripts / "mathjax" / "LICENSE").read_text()
    assert "Permission is hereby granted" in (scripts / "iframe-worker" / "LICENSE").read_text()
    config = (ROOT / "mkdocs.yml").read_text()
    for script in scripts.rglob("*.js"):
        assert f"- {script.relative_to(ROOT / 'docs').as_posix()}\n" in config, script
    names = {font.stem for font in scripts.rglob("*.woff")}
    loaded = re.findall(r"MathJax_\w+(?:-\w+)?(?=\.woff)", (scripts / "mathjax" / "tex-chtml.js").read_text())
    assert len(loaded) > 20
    assert set(loaded) <= names
    assert sum(path.stat().st_size for path in scripts.rglob("*") if path.is_file()) < 2_000_000


def test_extras_on_installation_page_match_pyproject() -> None:
    """Each with what it brings, under the names of its distributions."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", (ROOT / "docs" / "install.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == set(extras)
    for name, brings in rows:
        if name != "dev":
            assert brings.split(", ") == [re.split(r"[\[=><]", package)[0] for package in extras[name]]
