"""Reports from the command line."""

from pathlib import Path

import pytest

from helpers.commands import complaint


def test_report_without_runs_is_one_line_error(
    several: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no finished run" in complaint(["report", str(tmp_path)], capsys)
