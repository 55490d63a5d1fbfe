import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmfusion.experiments import folder
from mmfusion.training import checkpoints

FAKES = Path(__file__).parents[1] / "helpers" / "fakes.py"
TINY = ("--model", "tiny", "--dataset", "tiny", "--epochs", "6", "--batch-size", "16", "--device", "cpu")
RUN = ("run", *TINY, "--set", "run.references=false")
PAUSE = ("--set", "model.pause=0.4")
"""Leaves time to kill, and changes no number."""

PATIENCE = 600
"""Seconds; a process takes a few of them on a machine that does nothing else."""

pytestmark = pytest.mark.slow


@contextmanager
def spawn(arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, which does not outlive its test."""
    pipe = subprocess.PIPE

    def heed_ctrl_c() -> None:
        # A shell starts what runs in its background with SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    command = [sys.executable, str(FAKES), *arguments]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_ctrl_c) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(arguments: Sequence[str]) -> str:
    with spawn(arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(20 * PATIENCE):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.05)
    pytest.fail(f"{path} never came")


@pytest.mark.exhaustive
def test_killed_and_resumed_run_has_same_predictions(tmp_path: Path) -> None:
    """Killed from outside; test_killing.py has kills in every epoch."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish([*RUN, "--out", str(whole)])
    with spawn([*RUN, *PAUSE, "--out", str(killed)]) as process:
        wait_for(killed / checkpoints.LAST, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / folder.METRICS).exists()
    finish(["run", "--resume", str(killed)])
    assert (killed / folder.PREDICTIONS).read_bytes() == (whole / folder.PREDICTIONS).read_bytes()
    assert {path.name for path in killed.iterdir()} == set(folder.FILES)
    # The table is reprinted; nothing is trained again.
    assert "holds a finished run" in finish(["run", "--resume", str(killed)])


def test_ctrl_c_is_one_line_and_keeps_progress(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with spawn([*RUN, *PAUSE, "--out", str(out)]) as process:
        wait_for(out / checkpoints.LAST, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.count("\n") == 1
    epoch = checkpoints.load(out / checkpoints.LAST)[1]["progress"]["epoch"]
    kept = f"interrupted after epoch {epoch}, saved in {out}"
    assert err == f"mmfusion: {kept}; continue with: mmfusion run --resume {out}\n"
    assert not [name for name in os.listdir(out) if name.startswith(".")]
    finish(["run", "--resume", str(out)])
    assert (out / folder.METRICS).exists()
