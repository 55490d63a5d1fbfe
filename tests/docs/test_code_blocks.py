"""Every Python block of the README and the docs runs: a page's blocks one after another, in a folder of their own."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python(?P<options>[^\n]*)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
QUICK = {"README.md", "docs/methods/cfcml.md"}  # all together they take as long as a tenth of the quick loop


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[tuple[int, str]]:
    """Line numbers and code; a block marked ``notest`` needs a network."""
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
def test_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmfusion import registry

    monkeypatch.chdir(tmp_path)
    for kind in [value for value in vars(registry).values() if isinstance(value, registry.Registry)]:
        kind.list()  # all of the package's own are there before what the page adds is told from them
        monkeypatch.setattr(kind, "_builders", dict(kind._builders))  # a page may register a part of its own
    torch.manual_seed(0)
    namespace: dict[str, object] = {"__name__": "page"}
    for line, code in blocks(ROOT / name):
        # Padding puts the page's own line numbers into a traceback.
        exec(compile("\n" * line + code, name, "exec"), namespace)


def test_the_readme_and_the_quickstart_have_blocks() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/methods/cfcml.md"} <= set(WITH_CODE)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        assert f" {page.relative_to(ROOT / 'docs').as_posix()}\n" in navigation, page
