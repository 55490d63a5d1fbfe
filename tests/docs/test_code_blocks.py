"""Every Python block of the README and the docs runs: a page's blocks one after another, in a folder of their own."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^``` ?\{?\.?python(?P<options>[^\n]*)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^ *```(?P<options>[^\n]*)\n(?P<code>.*?)^ *```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
OPENING = re.compile(r"(?:python|sh|text|toml|json)?| ?\{(?: ?\.[\w-]+)+ ?\}")
COLUMNS = 78  # what a page shows beside its two side bars
QUICK = {"README.md", "docs/methods/cfcml.md"}  # all together they take as long as a tenth of the quick loop


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line numbers and code; a block of class ``notest`` needs a network."""
    text = page.read_text()
    return [
        (text[: match.start("code")].count("\n") + 1, match["code"])
        for match in BLOCK.finditer(text)
        if "notest" not in match["options"]
    ]


WITH_CODE = [page.relative_to(ROOT).as_posix() for page in pages() if blocks(page)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in WITH_CODE]
)
def test_code_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfusion import registry

    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "samples").symlink_to(ROOT / "docs" / "samples")  # as in a checkout
    for kind in [value for value in vars(registry).values() if isinstance(value, registry.Registry)]:
        kind.list()  # all of the package's own are there before what the page adds is told from them
        monkeypatch.setattr(kind, "_builders", dict(kind._builders))  # a page may register a part of its own
    torch.manual_seed(0)
    namespace: dict[str, object] = {"__name__": "page"}
    for line, code in blocks(ROOT / name):
        # Padding puts the page's own line numbers into a traceback.
        exec(compile("\n" * line + code, name, "exec"), namespace)


def test_readme_and_quickstart_have_code_blocks() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/methods/cfcml.md"} <= set(WITH_CODE)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f" {page.relative_to(ROOT / 'docs').as_posix()}\n" in navigation, page


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_code_lines_fit_the_page(page: Path) -> None:
    text = page.read_text()
    lines = [line for block in FENCE.finditer(text) for line in block["code"].splitlines()]
    lines += [line[4:] for block in INDENTED.findall(FENCE.sub("", text)) for line in block.splitlines()]
    assert [line for line in lines if len(line) > COLUMNS] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_markdown_fences_and_underscores_are_valid(page: Path) -> None:
    """Options of a fence in braces, or it becomes a paragraph; double underscores in code, or they are bold."""
    text = page.read_text()
    assert [block["options"] for block in FENCE.finditer(text) if not OPENING.fullmatch(block["options"])] == []
    assert text.count("```") % 2 == 0
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    assert re.findall(r"__\w+__", prose) == []


def test_commands_work_with_installed_package() -> None:
    """``benchmarks/run.py`` exists in a checkout alone; a page names it only where it installs from one."""
    for page in pages():
        for block in FENCE.finditer(page.read_text()):
            if "benchmarks/run.py" in block["code"]:
                assert 'pip install -e ".[' in block["code"], page
