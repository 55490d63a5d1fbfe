"""The page on plug-ins: its file is short, and works with the benchmark script as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "plugins.md"
SMALL = (
    "--set data.n_train=32 --set data.n_validation=16 --set data.n_test=16 --set data.size=32 "
    "--set train.resamples=20 --set train.batch_size=16"
)


def first_block() -> str:
    found = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_file_has_at_most_forty_lines() -> None:
    assert len(first_block().splitlines()) <= 40


@pytest.mark.exhaustive
@pytest.mark.slow
def test_benchmark_script_accepts_plugin(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(first_block())
    script = str(ROOT / "benchmarks" / "run.py")
    (command,) = re.findall(r"^mmfusion run (--plugin .*)$", PAGE.read_text(), re.MULTILINE)
    arguments = [*command.split(), "--epochs", "1", *SMALL.split()]
    done = subprocess.run(
        [sys.executable, script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "run" / "metrics.json").unlink()
    resumed = [sys.executable, script, "--resume", "run"]
    done = subprocess.run(resumed, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = "import mmfusion as mmf; print(type(mmf.load('run').model.layers[0]).__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "Gate\n", done.stderr


@pytest.mark.slow
def test_same_file_as_entry_point(tmp_path: Path) -> None:
    """A blueprint uses the printed entry point, without an import or a plug-in's path."""
    table = re.search(r'^\[project\.entry-points\."(.*)"\]\n(\w+) = "([\w.]+):(\w+)"$', PAGE.read_text(), re.MULTILINE)
    assert table is not None
    group, name, module, attribute = table.groups()
    package, file = module.split(".")
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / f"{file}.py").write_text(first_block())
    info = tmp_path / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{attribute}\n")
    script = str(ROOT / "benchmarks" / "run.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    (tmp_path / "mine.toml").write_text(f'tokens.layers = ["{name}"]\n')
    words = f"--model ./mine.toml --out run --epochs 1 {SMALL}".split()
    done = subprocess.run(
        [sys.executable, script, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "metrics.json").exists()
