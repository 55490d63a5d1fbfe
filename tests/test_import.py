import statistics
import subprocess
import sys
import time

import pytest

import mmfusion


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_the_package_imports() -> None:
    heavy = ["timm", "pandas", "sklearn", "matplotlib", "accelerate", "scipy", "rich", "pytorch_metric_learning"]
    found = python(f"import sys, mmfusion; print([name for name in {heavy} if name in sys.modules])")
    assert found.strip() == "[]"


def test_an_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'mmfusion' has no attribute 'nothing'"):
        _ = mmfusion.nothing


@pytest.mark.slow
def test_how_long_the_import_takes() -> None:
    """At most 0.3 s more than torch alone."""

    def seconds(module: str) -> float:
        start = time.perf_counter()
        python(f"import {module}")
        return time.perf_counter() - start

    seconds("mmfusion")  # files into the system's cache, byte code written
    torch_alone, package = zip(*((seconds("torch"), seconds("mmfusion")) for _ in range(5)), strict=True)
    # Whatever else runs on the machine can only add time, so each side's fastest run is the fairest.
    assert min(package) - min(torch_alone) < 0.3
    assert statistics.median(package) - statistics.median(torch_alone) < 0.6
