"""The pictures of the synthetic datasets are what the code draws, and are shown."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

DOCS = Path(__file__).parents[2] / "docs"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic", DOCS / "drawings" / "synthetic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pictures = loaded().PICTURES


@pytest.mark.slow
@pytest.mark.parametrize("name", pictures)
def test_committed_pictures_are_up_to_date(name: str) -> None:
    committed = np.asarray(Image.open(DOCS / "drawings" / f"{name}.png").convert("RGB")).astype(int)
    drawn = pictures[name]().astype(int)
    assert drawn.shape == committed.shape
    # Another processor's last bit may round a pixel to its neighbour.
    assert np.abs(drawn - committed).max() <= 2, "run python docs/drawings/synthetic.py"


def test_committed_pictures_are_small_and_have_alt_text() -> None:
    assert {path.stem for path in (DOCS / "drawings").glob("*.png")} == set(pictures)
    shown = re.findall(r"!\[([^\]]+)\]\(../drawings/([\w-]+).png\)", (DOCS / "guide" / "synthetic.md").read_text())
    assert {name for _, name in shown} == set(pictures)
    assert all(len(words) > 100 for words, _ in shown)
    assert all((DOCS / "drawings" / f"{name}.png").stat().st_size < 300_000 for name in pictures)
