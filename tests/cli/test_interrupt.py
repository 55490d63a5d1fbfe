"""Ctrl-C in the first seconds, while modules are imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.marks import EXHAUSTIVE
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
        pytest.param("mmfusion.cli.run", "--help", marks=EXHAUSTIVE),
        pytest.param("torch", "list models", marks=EXHAUSTIVE),
        ("torch", "run --model concat --epochs 1 --out run"),
        pytest.param("accelerate", "run --model concat --epochs 1 --out run", marks=EXHAUSTIVE),
        pytest.param("timm", "run --model concat --encoder resnet18 --epochs 1 --out run", marks=EXHAUSTIVE),
        ("accelerate", "predict run --table t.csv --out p.csv"),
        pytest.param("pandas", "run --resume run", marks=EXHAUSTIVE),
        pytest.param("torch", "run --model concat,image --epochs 1 --out run", marks=EXHAUSTIVE),
        ("torch", "report run"),
    ],
)
def test_interrupt_during_imports_is_one_line(tmp_path: Path, module: str, command: str) -> None:
    words = [sys.executable, "-c", CODE, module, *command.split()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == "mmfusion: interrupted; nothing was written yet\n"
    assert done.returncode == interrupt.CODE
    assert not list(tmp_path.iterdir())


def test_signal_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupt.at_once():
        assert (signal.getsignal(signal.SIGINT) is before) == (before is not signal.default_int_handler)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_signal_handler_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
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


AT_EACH_LINE = r"""
import os, signal, sys, tempfile
from mmfusion.cli import entry

words, n = sys.argv[1:], 0

def child(at):
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def see(frame, event, _):
        global n
        if event == "line" and ("mmfusion" in frame.f_code.co_filename or "argparse" in frame.f_code.co_filename):
            n += 1
            if n == at:
                os.kill(os.getpid(), signal.SIGINT)
        return see

    sys.settrace(see)
    code = entry(words)
    sys.settrace(None)
    return code

def outcome(at):
    with tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            os.dup2(err.fileno(), 2)
            code = 99
            try:
                code = child(at)
            except BaseException as error:
                os.write(2, repr(error).encode())
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        err.seek(0)
        return code, err.read().decode()

child(0)  # with its imports, which are over then
n = 0
child(0)
# Not the first, before which nothing is in place.
last, n = n, 0
for at in [*range(2, 30), *range(30, last - 30, (last - 60) // 40), *range(last - 29, last + 1)]:
    print(at, last, *map(repr, outcome(at)), sep="\t")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_interrupt_at_any_line_is_one_line(tmp_path: Path) -> None:
    """Of a command that ends soon, from its first line to its last."""
    words = [sys.executable, "-c", AT_EACH_LINE, "compact", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outcomes = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(outcomes) > 90
    for at, last, code, said in outcomes:
        place = f"line {at} of {last}: {code}, {said}"
        assert code == str(interrupt.CODE) or (code == "2" and int(at) > int(last) - 5), place
        assert said == "''" or said.startswith("'mmfusion: "), place
        if int(at) < int(last) - 10:
            assert said.count("\\n") == (int(at) > 3), place
        else:  # the error was said already
            assert said.count("\\n") <= 2, place


def test_interrupt_at_exit_keeps_exit_code() -> None:
    code = (
        "import atexit, os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from mmfusion.cli import interrupt\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "print('result')\n"
        "sys.exit(interrupt.done(1))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "result\n", "")
