"""The names that are listed."""

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
