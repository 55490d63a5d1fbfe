"""The pictures of explanations: small, described in words, made by a committed script, and attributed."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("matplotlib")

DOCS = Path(__file__).parents[2] / "docs"
FIGURES = DOCS / "figures"
SHOWN = re.compile(r"!\[([^\]]+)\]\(../figures/([\w-]+)\.png\)")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("explain_pictures", FIGURES / "explain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_small_and_have_alt_text(script: ModuleType) -> None:
    shown = [match for page in (DOCS / "guide").glob("*.md") for match in SHOWN.findall(page.read_text("utf-8"))]
    assert sorted(name for _, name in shown) == sorted(path.stem for path in FIGURES.glob("*.png"))
    assert all(len(words) > 100 for words, _ in shown)
    assert [path.name for path in FIGURES.glob("*.png") if path.stat().st_size > script.LARGEST] == []
    made = set(re.findall(r'save\("([\w-]+)"', Path(script.__file__ or "").read_text("utf-8")))
    assert made <= {name for _, name in shown}


def test_ultrasound_images_are_at_most_eight_and_attributed(script: ModuleType) -> None:
    assert script.N_BUS_BRA <= 8
    page = (DOCS / "guide" / "explain.md").read_text("utf-8")
    below = page.split("../figures/explain-bus-bra.png)")[1].split("\n\n")[1]
    assert "doi 10.1002/mp.16812" in below
    assert "bus_bra/LICENSE.txt" in below


def test_heat_overlay_leaves_pixels_without_heat(script: ModuleType) -> None:
    pixels = np.full((2, 2, 3), 0.4)
    pixels[0, 0] = [0.1, 0.2, 0.6]
    heat = np.array([[0.0, -1.0], [2.0, 0.0]])
    found = script.overlaid(pixels, heat)
    np.testing.assert_allclose(found[0, 0], [0.3] * 3)  # gray without heat
    np.testing.assert_allclose(found[0, 1], [0.4] * 3)
    np.testing.assert_allclose(found[1, 0], 0.25 * 0.4 + 0.75 * np.array([1, 1, 0]))
    np.testing.assert_allclose(script.overlaid(pixels, np.zeros((2, 2)))[1], np.full((2, 3), 0.4))
