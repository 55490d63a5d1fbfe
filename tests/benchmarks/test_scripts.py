"""Every script of the benchmarks can be called."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.marks import EXHAUSTIVE

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(
    path.relative_to(BENCHMARKS).as_posix() for path in [*BENCHMARKS.glob("*.py"), *BENCHMARKS.glob("studies/*.py")]
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=EXHAUSTIVE if name in SCRIPTS[1::2] else ()) for name in SCRIPTS]
)
def test_scripts_print_help(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), "--help"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
