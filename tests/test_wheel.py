"""A wheel holds all that the package reads from itself: recipes, presets, templates, style sheets."""

import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parents[1]


@pytest.mark.slow
def test_data_files_are_in_the_wheel(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    [path] = wheel.WheelBuilder(str(HERE)).build(directory=str(tmp_path), versions=["standard"])
    package = HERE / "src" / "mmfusion"
    files = {file.relative_to(package.parent).as_posix() for file in package.rglob("*") if file.is_file()}
    expected = {name for name in files if "__pycache__" not in name}
    assert expected <= set(zipfile.ZipFile(path).namelist())
    assert "mmfusion/comparison/report/templates/report.jinja" in expected
