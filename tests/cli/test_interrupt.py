"""Ctrl-C in the first seconds, while modules are imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmfusion.cli import interrupt

CODE = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Stop:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Stop())
from mmfusion.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("argparse", "list models"),
        ("mmfusion.cli.run", "--help"),
        ("torch", "list models"),
        ("torch", "run --model concat --epochs 1 --out run"),
        ("accelerate", "run --model concat --epochs 1 --out run"),
        ("timm", "predict run --table t.csv --out p.csv"),
        ("pandas", "run --resume run"),
        ("torch", "run --model concat,image --epochs 1 --out run"),
        ("torch", "report run"),
    ],
)
def test_during_the_imports_it_is_one_line(tmp_path: Path, module: str, command: str) -> None:
    words = [sys.executable, "-c", CODE, module, *command.split()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == "mmfusion: interrupted; nothing was written yet\n"
    assert done.returncode == interrupt.CODE
    assert not list(tmp_path.iterdir())


def test_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupt.at_once():
        assert (signal.getsignal(signal.SIGINT) is before) == (before is not signal.default_int_handler)
    assert signal.getsignal(signal.SIGINT) is before


def test_another_handler_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        with interrupt.at_once():
            os.kill(os.getpid(), signal.SIGINT)
        assert caught == [signal.SIGINT]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Several processes tell each other.
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(KeyboardInterrupt), interrupt.at_once():
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
