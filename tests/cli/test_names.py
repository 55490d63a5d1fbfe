"""The names that are listed."""

import subprocess
import sys
from types import ModuleType

import pytest

from mmfusion import registry
from mmfusion.cli import main


def test_names_are_listed(fakes: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "models"]) == 0
    assert capsys.readouterr().out.split() == registry.models.list()
    assert main(["list", "datasets"]) == 0
    assert capsys.readouterr().out.split() == registry.datasets.list()
    assert main(["list", "models", "tin*"]) == 0
    assert capsys.readouterr().out == "tiny\n"
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("models:\n  ")


@pytest.mark.slow
def test_closed_pipe_ends_silently() -> None:
    command = [sys.executable, "-m", "mmfusion.cli", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
