"""How the program ends, whatever its command."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import complaint
from mmfusion.cli import main, program
from mmfusion.experiments import run
from mmfusion.training import checkpoints


@pytest.mark.slow
def test_ctrl_c_is_one_line(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoints.save

    def stop(path: Path, *rest: object) -> None:
        if path.name == checkpoints.BEST:
            raise KeyboardInterrupt
        real(path, *rest)

    monkeypatch.setattr(checkpoints, "save", stop)
    text = complaint(tiny, capsys, code=130)
    assert f"before the end of the first epoch; start again with: mmfusion run --resume {tmp_path / 'run'}" in text

    def at_once(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "build", at_once)
    assert "nothing was written yet" in complaint([*tiny[:-1], str(tmp_path / "other")], capsys, code=130)
    assert not (tmp_path / "other").exists()


def test_internal_error_keeps_traceback(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(run, "start", broken)
    with pytest.raises(RuntimeError, match="ours"):
        main(tiny)


def test_debug_variable_shows_traceback(tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMFUSION_DEBUG", "1")
    with pytest.raises(ValueError, match="from 2 to 65536"):
        main([*tiny, "--batch-size", "1"])


@pytest.mark.slow
def test_benchmark_script_equals_run_command() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "run.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: mmfusion run ")


@pytest.mark.parametrize("command", [[], *([command.NAME] for group in program.GROUPS.values() for command in group)])
def test_help_fits_on_a_screen_and_a_half(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert stop.value.code == 0
    assert len(lines) <= 75
    assert max(map(len, lines)) <= 90
    assert lines[0].startswith(" ".join(["usage: mmfusion", *command]))


def test_help_lists_each_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for group in program.GROUPS.values():
        for command in group:
            assert sum(line.startswith(f"  {command.NAME} ") for line in lines) == 1
