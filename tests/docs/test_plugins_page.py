"""The page on one's own model: short enough, and its file works with the benchmark script as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guide" / "plugins.md"


def first_block() -> str:
    found = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def test_a_model_of_ones_own_takes_forty_lines_at_most() -> None:
    assert len(first_block().splitlines()) <= 40


@pytest.mark.slow
def test_the_benchmark_script_takes_it(tmp_path: Path) -> None:
    (tmp_path / "my_models.py").write_text(first_block())
    script = str(ROOT / "benchmarks" / "run.py")
    (command,) = re.findall(r"^python benchmarks/run.py (.*)$", PAGE.read_text(), re.MULTILINE)
    words = "--epochs 1 --set data.n_train=32 --set data.n_validation=16 --set data.n_test=16 --set data.size=32"
    arguments = [*command.split(), *words.split(), "--set", "train.resamples=20", "--set", "train.batch_size=16"]
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
