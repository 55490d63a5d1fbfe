import os
import subprocess
import sys

import pytest

import mmfusion


def python(code: str) -> str:
    # With byte code written, as it is where the package is installed.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_import_loads_no_heavy_dependency() -> None:
    heavy = ["timm", "pandas", "sklearn", "matplotlib", "accelerate", "scipy", "rich", "pytorch_metric_learning"]
    found = python(f"import sys, mmfusion; print([name for name in {heavy} if name in sys.modules])")
    assert found.strip() == "[]"


def test_unknown_attribute_raises() -> None:
    with pytest.raises(AttributeError, match="module 'mmfusion' has no attribute 'nothing'"):
        _ = mmfusion.nothing


@pytest.mark.slow
def test_import_time_is_bounded() -> None:
    """At most 0.3 s of processor time more than torch alone."""
    code = "import time, torch; began = time.process_time(); import mmfusion; print(time.process_time() - began)"
    python(code)  # files into the system's cache, byte code written
    assert min(float(python(code)) for _ in range(3)) < 0.3
