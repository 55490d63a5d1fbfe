"""Parts of one's own, from the command line."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from helpers.commands import complaint
from mmfusion import registry
from mmfusion.cli import main
from mmfusion.experiments import folder

PLUGIN = """
from mmfusion.registry import models

@models.register("mine")
def mine(spec, *, width: int = 4):
    return models.create("tiny", spec, width=width)
"""


def forget() -> None:
    """As a new process would."""
    registry.models._builders.pop("mine", None)
    for name in [name for name in sys.modules if name.startswith("mmfusion_plugin_")]:
        del sys.modules[name]


@pytest.mark.slow
def test_plugin_trains_resumes_and_predicts(
    tiny: list[str],
    fakes: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One file, one decorator; predictions need the run's folder only."""
    monkeypatch.setattr(registry.models, "_builders", dict(registry.models._builders))
    place, table, out = tmp_path / "plugin", tmp_path / "new.csv", tmp_path / "run"
    place.mkdir()
    (place / "my_models.py").write_text(PLUGIN)
    fakes.table(8, seed=2).to_csv(table, index=False)
    monkeypatch.chdir(place)
    mine = [*tiny, "--model", "mine"]
    assert "unknown model 'mine'" in complaint(mine, capsys)
    assert main([*mine, "--plugin", "my_models.py"]) == 0
    assert folder.read_settings(out).run.plugins == [str(place / "my_models.py")]
    monkeypatch.chdir(tmp_path)

    forget()
    before = (out / folder.PREDICTIONS).read_bytes()
    (out / folder.METRICS).unlink()
    assert main(["run", "--resume", str(out)]) == 0
    assert (out / folder.PREDICTIONS).read_bytes() == before
    forget()
    predict = ["predict", str(out), "--table", str(table), "--root", str(tmp_path), "--out"]
    assert main([*predict, str(tmp_path / "a.csv")]) == 0
    forget()
    assert main(["list", "models", "mi*", "--plugin", str(place / "my_models.py")]) == 0
    assert capsys.readouterr().out.endswith("mine\n")

    moved = place.rename(tmp_path / "elsewhere") / "my_models.py"
    forget()
    (out / folder.METRICS).unlink()
    for command in (["run", "--resume", str(out)], [*predict, str(tmp_path / "b.csv")]):
        assert "my_models.py: give its place by --plugin" in complaint(command, capsys)
        forget()
        assert main([*command, "--plugin", str(moved)]) == 0
        forget()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_failing_plugin_is_one_line_error(tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.py").write_text("import nothing_of_that_name")
    text = complaint([*tiny, "--plugin", str(tmp_path / "bad.py")], capsys)
    assert "bad.py fails to load: ModuleNotFoundError: No module named 'nothing_of_that_name'" in text
    assert [path.name for path in tmp_path.iterdir()] == ["bad.py"]
