import itertools
import re
from importlib import resources

import numpy as np
import pytest

from mmfusion.comparison.report import palette
from mmfusion.comparison.report.palette import DARK, GRID, INK, MUTED, NAMES, PAPER, REST, SERIES

# Machado, Oliveira and Fernandes, IEEE TVCG 15:1291, 2009: how linear RGB looks without one kind of cone.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    "full sight": np.eye(3),
}
THEMES = {"light": {color: color for color in NAMES}, "dark": DARK}
CSS = resources.files("mmfusion.comparison.report").joinpath("templates/style.css").read_text(encoding="utf-8")


def linear(color: str) -> np.ndarray:
    c = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def contrast(first: str, other: str) -> float:
    """As WCAG 2 defines it."""
    high, low = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (first, other)), reverse=True)
    return high / low


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    x, y, z = np.cbrt(np.clip(xyz / [0.9505, 1, 1.089], 1e-6, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_contrast_matches_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", THEMES)
def test_text_and_series_have_contrast(theme: str) -> None:
    of = THEMES[theme]
    for color in (INK, MUTED):
        assert contrast(of[color], of[PAPER]) >= 4.5
    for color in (*SERIES, REST):
        assert contrast(of[color], of[PAPER]) >= 3
    assert contrast(of[GRID], of[PAPER]) < 2


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("eye", BLIND)
def test_series_colors_are_distinct(theme: str, eye: str) -> None:
    seen = [lab(np.clip(np.array(BLIND[eye]) @ linear(THEMES[theme][color]), 0, 1)) for color in (INK, *SERIES)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 18


def blocks(text: str) -> dict[str, dict[str, str]]:
    """Variables of the style sheet, light, dark and of print."""
    result = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{(.*?)\}", text, re.S)
    ]
    return dict(zip(("light", "dark", "print"), result, strict=True))


def test_style_sheet_matches_palette() -> None:
    css = blocks(CSS)
    for color, name in NAMES.items():
        assert css["light"][name] == color
        assert css["dark"][name] == DARK[color]
    assert set(css["light"]) == set(css["dark"]) == set(css["print"])


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_page_text_has_contrast(theme: str) -> None:
    css = blocks(CSS)[theme]
    for text, paper in (
        ("ink", "paper"),
        ("muted", "paper"),
        ("link", "paper"),
        ("ink", "answer-paper"),
        ("ink", "strong-paper"),
        ("ink", "warn-paper"),
        ("warn", "warn-paper"),
    ):
        assert contrast(css[text], css[paper]) >= 4.5, (text, paper)


def test_reference_and_best_differ_without_color() -> None:
    labels = ["a", "b", "c", "d", "reference", "e", "f"]
    styles = palette.styles(labels, "reference")
    front = [styles[label] for label in ("reference", "a", "b", "c", "d")]
    assert styles["reference"] == palette.REFERENCE
    assert styles["e"] == styles["f"] == palette.OTHER
    assert len({style.marker for style in front}) == len(front)
    lines = [repr(style.line) for style in front]
    assert len(set(lines)) == 4  # the best is solid, as the reference is
    assert all(style.prominent for style in front)


def test_colors_without_reference() -> None:
    styles = palette.styles(["a", "b"], None)
    assert [styles[label].color for label in ("a", "b")] == list(SERIES[:2])
