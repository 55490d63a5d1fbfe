"""What a command says."""

from collections.abc import Sequence

import pytest

from mmfusion.cli import main


def complaint(arguments: Sequence[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """What a command that fails says: one line, and nothing but."""
    assert main(arguments) == code
    err = capsys.readouterr().err
    assert err.startswith("mmfusion: ")
    assert err.count("\n") == 1
    return err
