"""Reports from the command line."""

from pathlib import Path

import pytest

from helpers.commands import complaint


def test_a_report_of_nothing(several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no finished run" in complaint(["report", str(tmp_path)], capsys)
