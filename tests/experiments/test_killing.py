import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")


@pytest.mark.slow
def test_random_kills_do_not_change_results() -> None:
    """One of them during the first write, and one where a batch has a single case with an image."""
    script = Path(__file__).parents[1] / "helpers" / "killing.py"
    given = ["--kills", "4", "--lone-kills", "2", "--epochs", "2"]
    done = subprocess.run(
        [sys.executable, str(script), *given], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    tiny, lone, _ = done.stdout.splitlines()
    assert tiny.startswith("tiny: 4 kills in ")
    assert lone.startswith("lone: 2 kills in ")
