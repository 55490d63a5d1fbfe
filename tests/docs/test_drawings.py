"""The drawings of the losses come from the losses, and the pages that show them say what the losses do."""

import importlib.util
import inspect
import math
import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import torch

from mmfusion import registry

matplotlib = pytest.importorskip("matplotlib")

DOCS = Path(__file__).parents[2] / "docs"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
OPTIONS = re.compile(r"^Options of `(\w+)`[^\n]*:\n\n((?:\|.*\n)+)", re.MULTILINE)


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", DOCS / "drawings" / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


draw = loaded()
every_drawing = pytest.mark.parametrize("name", draw.DRAWINGS)


def elements(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Tags and attributes, without the names that matplotlib makes of contents."""
    named = ("id", "href", "clip-path")
    return [
        (element.tag, {key: value for key, value in element.attrib.items() if not key.endswith(named)})
        for element in ElementTree.parse(path).iter()
    ]


def similar(one: str, other: str) -> bool:
    """The same text, and numbers within a twentieth of a point."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(math.isclose(float(a), float(b), abs_tol=0.05) for a, b in pairs)


@pytest.mark.slow
@every_drawing
def test_committed_drawings_are_up_to_date(name: str, tmp_path: Path) -> None:
    committed = DOCS / "drawings" / f"{name}.svg"
    recorded = re.search(r"Matplotlib v([\d.]+)", committed.read_text())
    assert recorded is not None
    if recorded[1] != matplotlib.__version__:
        pytest.skip(f"drawn with matplotlib {recorded[1]}, this is {matplotlib.__version__}")
    draw.save(name, tmp_path / "new.svg")
    before, now = elements(committed), elements(tmp_path / "new.svg")
    assert [(tag, *attributes) for tag, attributes in now] == [(tag, *attributes) for tag, attributes in before]
    for (tag, old), (_, new) in zip(before, now, strict=True):
        for key, value in old.items():
            assert similar(value, new[key]), f"{tag} {key}: run python docs/drawings/draw.py"


@every_drawing
def test_no_drawing_is_empty(name: str) -> None:
    drawing = draw.DRAWINGS[name]()
    assert bool(drawing.forces.isfinite().all())
    assert drawing.forces.abs().max() > 0
    if name != "masked_columns":  # a table
        assert len(drawing.slopes) == len(drawing.points) >= len(drawing.forces)
        assert bool(drawing.slopes.isfinite().all())
        assert drawing.slopes.abs().max() > 0


def test_masked_cells_have_forces_towards_their_targets() -> None:
    cells = draw.DRAWINGS["masked_columns"]()
    (age, sex, site), hidden = cells.forces.split((1, 2, 3), 1), cells.hidden
    forces = torch.stack([age.abs().amax(1), sex.abs().amax(1), site.abs().amax(1)], 1)
    assert torch.equal(forces > 0, hidden)
    assert torch.equal(age.sign(), (cells.table.numerical - cells.predicted[:, :1]).sign() * hidden[:, :1])
    for column, part in enumerate((sex, site)):
        right = torch.nn.functional.one_hot(cells.table.categorical[:, column], part.shape[1]) > 0
        there = hidden[:, column + 1 :][:, :1]
        assert torch.equal(part > 0, right & there)
        assert torch.equal(part < 0, ~right & there)


def test_every_committed_drawing_has_code() -> None:
    assert {path.stem for path in (DOCS / "drawings").glob("*.svg")} == set(draw.DRAWINGS)


def test_every_drawing_is_shown_with_alt_text() -> None:
    pages = "".join(page.read_text() for page in (DOCS / "methods" / "losses").glob("*.md"))
    shown = re.findall(r"!\[([^\]]+)\]\(../../drawings/(\w+).svg\)", pages)
    assert {name for _, name in shown} == set(draw.DRAWINGS)
    assert all(len(words) > 30 for words, _ in shown)


RELATIONS = {
    "sample_anchor": (
        {"A's image prototype", "A's table prototype", "A's crossmodal prototype"},
        {"B3's table", "B4's table", "C5's table", "C6's table"},
    ),
    "unimodal_anchor": (
        {"A's crossmodal prototype"},
        {f"{k}'s {name} prototype" for k in "BC" for name in ("image", "table")},
    ),
    "crossmodal_anchor": (
        {"A's image prototype", "A's table prototype"},
        {"B's crossmodal prototype", "C's crossmodal prototype"},
    ),
    "hierarchical_anchor": (
        {"A1's image", "A2's image", "A1's table", "A2's table", "A's crossmodal prototype"},
        {f"{k}'s {name} prototype" for k in "BC" for name in ("image", "table")},
    ),
    "info_nce": ({"A2's image"}, {f"{case}'s image" for case in ("A1", "B3", "B4", "C5", "C6")}),
    "alignment": ({"A2's image"}, set()),
    "consistency": ({"A2's image"}, set()),
    "matching": ({"A2's image"}, {"C5's image"}),
    "metric": (
        {"A1's image", "A2's image", "A1's table"},
        {f"{case}'s {name}" for case in ("B3", "B4", "C5", "C6") for name in ("image", "table")},
    ),
    "hsic": ({f"{case}'s table" for case in ("B3", "B4", "C5", "C6")}, {"A1's table"}),
    "cross_entropy": ({"A's class weight"}, {"B's class weight", "C's class weight"}),
    "focal": ({"A's class weight"}, {"B's class weight", "C's class weight"}),
    **dict.fromkeys(
        ("class_balanced", "logit_adjusted"),
        ({"C5's embedding", "C6's embedding"}, {f"{case}'s embedding" for case in ("A1", "A2", "B3", "B4")}),
    ),
    "uniformity": (set(), {f"{case}'s table" for case in ("A1", "B3", "B4", "C5", "C6")}),
}


@pytest.mark.parametrize("name", RELATIONS)
def test_signs_of_forces_match_relations(name: str) -> None:
    drawing = draw.DRAWINGS[name]()
    named = list(zip(map(str, drawing.points), drawing.slopes.tolist(), strict=True))
    assert {point for point, slope in named if slope < -1e-9} == RELATIONS[name][0]
    assert {point for point, slope in named if slope > 1e-9} == RELATIONS[name][1]


def test_slopes_match_derivative_by_cosines() -> None:
    factors = torch.randn(5, 5, dtype=torch.float64).triu(1)
    x = draw.directions([0.0, 10.0, 75.0, 180.0, 300.0])
    slopes = draw.slopes_by_cosine(lambda x: (factors * (x @ x.T)).sum(), x)
    torch.testing.assert_close(slopes, factors + factors.T)


def test_slopes_of_other_function_raise() -> None:
    with pytest.raises(ValueError, match="depends on more than their cosines"):
        draw.slopes_by_cosine(lambda x: x[:, 0].pow(3).sum(), draw.directions([0.0, 60.0, 200.0]))


def test_forces_lower_the_loss() -> None:
    forces = draw.forces_on(lambda x: -(x[0] * x[1]).sum(), [10.0, 100.0])
    torch.testing.assert_close(forces, torch.tensor([1.0, -1.0], dtype=torch.float64) * math.pi / 180)


HEADINGS = ["Idea", "Diagram", "Equations", "What it costs", "How to use"]
PAGES = sorted((DOCS / "methods" / "losses").glob("*.md"))


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != "index"], ids=lambda page: page.stem)
def test_pages_have_headings_and_option_tables(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    tables = OPTIONS.findall(text)
    assert tables
    for name, table in tables:
        rows = [[cell.strip(" `") for cell in row.split("|")[1:3]] for row in table.splitlines()[2:]]
        options = registry.losses.options(name).items()
        assert dict(rows) == {
            option: "required" if parameter.default is inspect.Parameter.empty else repr(parameter.default)
            for option, parameter in options
        }


def test_every_loss_has_drawing_and_option_table() -> None:
    own = {name for name in registry.losses.list() if registry.losses.get(name).__module__.startswith("mmfusion.")}
    own -= {"density", "leakage"}  # of one method, whose page has them
    described = {name for page in PAGES for name, _ in OPTIONS.findall(page.read_text())}
    assert described == own
    assert own <= set(draw.DRAWINGS)
