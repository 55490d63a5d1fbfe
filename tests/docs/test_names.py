"""What the pages name exists: dotted names of the package, and the names of parts."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAME = re.compile(r"\bmmfusion(?:\.[A-Za-z_]\w*)+(?![\w/]|\.(?:md|json|toml))")


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one or of a class in it."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


def test_unknown_names_are_detected() -> None:
    assert exists("mmfusion.fusion.vectors.GatedFusion.forward")
    assert not exists("mmfusion.fusion.vectors.GatedFusio")
    assert not exists("mmfusion.fusio.vectors")
    text = "`mmfusion.models.Phase`, ~/.cache/mmfusion/text, mmfusion/plugins.json. Use mmfusion.load(folder)."
    assert NAME.findall(text) == ["mmfusion.models.Phase", "mmfusion.load"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_dotted_names_exist(page: Path) -> None:
    """Entry points' groups among them: each is named as the module that registers the package's own."""
    text = re.sub(r"https?://\S+", "", page.read_text())
    assert [name for name in sorted(set(NAME.findall(text))) if not exists(name)] == []
