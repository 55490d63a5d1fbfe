import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmfusion.training import checkpoints, folder

FAKES = Path(__file__).with_name("fakes.py")
RUN = ("run", "--model", "tiny", "--dataset", "tiny", "--epochs", "6", "--batch-size", "16", "--device", "cpu")

pytestmark = pytest.mark.slow


def spawn(arguments: Sequence[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE

    def heed_ctrl_c() -> None:
        # A shell starts what runs in its background with SIGINT ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    command = [sys.executable, str(FAKES), *arguments]
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed_ctrl_c)


def finish(arguments: Sequence[str]) -> str:
    process = spawn(arguments)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.05)
    pytest.fail(f"{path} never came")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    finish([*RUN, "--out", str(out)])
    return out


@pytest.mark.parametrize("file", [folder.SETTINGS, checkpoints.LAST, folder.HISTORY])
def test_killed_and_resumed_it_ends_with_the_same_predictions(tmp_path: Path, whole: Path, file: str) -> None:
    killed = tmp_path / "killed"
    # The pause leaves time to kill, and changes no number.
    process = spawn([*RUN, "--set", "model.pause=0.1", "--out", str(killed)])
    wait_for(killed / file, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    if file != folder.HISTORY:
        assert process.returncode == -signal.SIGKILL
        assert not (killed / folder.METRICS).exists()
    finish(["run", "--resume", str(killed)])
    assert (killed / folder.PREDICTIONS).read_bytes() == (whole / folder.PREDICTIONS).read_bytes()
    assert {path.name for path in killed.iterdir()} == set(folder.FILES)
    # The table is reprinted; nothing is trained again.
    assert "holds a finished run" in finish(["run", "--resume", str(killed)])


def test_killed_in_either_of_two_phases(tmp_path: Path) -> None:
    """The first phase hides other cells in each step; as many as the run that nothing disturbed hid."""
    two, out, killed = ("--set", "model.pretrain=true"), tmp_path / "whole", tmp_path / "killed"
    finish([*RUN, *two, "--out", str(out)])
    process = spawn([*RUN, *two, "--set", "model.pause=0.1", "--out", str(killed)])
    for file in (checkpoints.LAST, checkpoints.BEST):  # the best is kept from the second phase on
        wait_for(killed / file, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        process = spawn(["run", "--resume", str(killed)])
    assert process.wait(timeout=120) == 0, process.stderr
    assert (killed / folder.PREDICTIONS).read_bytes() == (out / folder.PREDICTIONS).read_bytes()


def test_ctrl_c_ends_in_one_line_and_keeps_everything(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = spawn([*RUN, "--set", "model.pause=0.2", "--out", str(out)])
    wait_for(out / checkpoints.LAST, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("\n") == 1
    epoch = checkpoints.load(out / checkpoints.LAST)[1]["progress"]["epoch"]
    kept = f"all up to epoch {epoch} is in {out}"
    assert err == f"mmfusion: interrupted; {kept}; go on with: mmfusion run --resume {out}\n"
    assert not [name for name in os.listdir(out) if name.startswith(".")]
    finish(["run", "--resume", str(out)])
    assert (out / folder.METRICS).exists()
