"""A run's folder names plug-ins; none is run unless the user names it, or has allowed that very file."""

import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from importlib.util import cache_from_source
from pathlib import Path
from py_compile import compile as compiled

import pandas as pd
import pytest

import mmfusion
from helpers import fakes
from helpers.commands import complaint
from mmfusion.cli import main
from mmfusion.comparison import worker
from mmfusion.experiments import folder, plugin_files, predictor, run, trust
from mmfusion.registry import PluginError
from mmfusion.training import checkpoints, result_files

Start = Callable[..., Path]

EVIL = "import pathlib\npathlib.Path({mark!r}).touch()\n"


@pytest.fixture(autouse=True)
def _own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    yield
    forget()


def forget() -> None:
    """As a new process would."""
    for name in [name for name in sys.modules if name.startswith("mmfusion_plugin_")]:
        del sys.modules[name]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Leaves a file ``ran`` next to it when it is run."""
    place = tmp_path / "evil.py"
    place.write_text(EVIL.format(mark=str(tmp_path / "ran")))
    return place


@pytest.fixture
def hostile(start: Start, plugin: Path) -> Path:
    """A whole run whose settings name the plug-in: those in the folder and those in the checkpoints."""
    out = start(overrides={"train": {"epochs": 1}})
    packed = result_files.read_json(out / folder.SETTINGS)
    packed["run"]["plugins"] = [str(plugin)]
    result_files.write_json(out / folder.SETTINGS, packed)
    for name in (checkpoints.BEST, checkpoints.LAST):
        tensors, about = checkpoints.load(out / name)
        if "settings" in about:
            about["settings"]["run"]["plugins"] = [str(plugin)]
        checkpoints.save(out / name, tensors, about)
    return out


def cases() -> pd.DataFrame:
    return fakes.table(8, seed=2)


def resumed(out: Path) -> None:
    (out / folder.METRICS).unlink(missing_ok=True)
    run.resume(out)


def ordered(out: Path) -> None:
    """As a sweep's worker that is given a file of orders, and no plug-in."""
    path = out.parent / "orders.json"
    worker.write_order(path, folder.read_settings(out), overwrite=True, wait=False)
    packed = result_files.read_json(path)
    trust.run_named(packed["settings"]["run"]["plugins"], path)


ROUTES = [
    pytest.param(mmfusion.load, id="load"),
    pytest.param(lambda out: mmfusion.Run(out).model, id="the model of a run"),
    pytest.param(lambda out: mmfusion.Run(out).evaluate(cases(), training=False, verbose=False), id="evaluate"),
    pytest.param(resumed, id="resume"),
    pytest.param(ordered, id="order"),
]


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_plugins_of_folder_are_not_run_without_consent(
    hostile: Path, plugin: Path, tmp_path: Path, route: Callable[[Path], object]
) -> None:
    with pytest.raises(PluginError) as caught:
        route(hostile)
    assert not (tmp_path / "ran").exists()
    assert f"{plugin} (SHA-256 " in str(caught.value)
    assert f"plugins=['{plugin}']" in str(caught.value)
    # Once it was allowed it is run, but no other content in the same place.
    trust.run_given([plugin])
    (tmp_path / "ran").unlink()
    forget()
    route(hostile)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    forget()
    plugin.write_text(plugin.read_text() + "# another\n")
    with pytest.raises(PluginError, match="that you have not allowed"):
        route(hostile)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_commands_do_not_run_plugins_of_folder(
    hostile: Path, plugin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that build the model raise; those that copy or compare have nothing to run."""
    cases().to_csv(tmp_path / "t.csv", index=False)
    run, out, new = str(hostile), str(tmp_path / "out"), ["--table", str(tmp_path / "t.csv"), "--device", "cpu"]
    building = (["predict", run, *new, "--out", out], ["evaluate", run, *new], ["explain", run], ["export", run])
    for command in building:
        message = complaint(command, capsys)
        assert "that you have not allowed" in message
        assert f"--plugin {plugin}" in message
    for command in (["share", run], ["compact", run], ["report", run, "--metrics", "auc"]):
        assert main([*command, "--out", f"{out}-{command[0]}"]) == 0
    assert not (tmp_path / "ran").exists()
    # Without plug-ins, since the user said so: the training cases are read by the folder's settings.
    evaluation = mmfusion.load(hostile, "cpu", plugins=[]).evaluate(cases(), verbose=False)
    assert evaluation.unreached == ""
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_caller_overrides_plugins(hostile: Path, plugin: Path, tmp_path: Path) -> None:
    predictor.load(hostile, plugins=[])
    assert not (tmp_path / "ran").exists()
    predictor.load(hostile, plugins=[plugin])
    assert (tmp_path / "ran").exists()


def test_copy_in_other_folder_is_not_allowed(plugin: Path, tmp_path: Path) -> None:
    """Other files may lie next to it."""
    trust.run_given([plugin])
    (tmp_path / "ran").unlink()
    (tmp_path / "stranger").mkdir()
    copy = tmp_path / "stranger" / plugin.name
    copy.write_bytes(plugin.read_bytes())
    with pytest.raises(PluginError, match="that you have not allowed"):
        trust.run_named([copy], tmp_path)
    assert not (tmp_path / "ran").exists()


def test_one_disallowed_plugin_stops_all(plugin: Path, tmp_path: Path) -> None:
    trust.run_given([plugin])
    (tmp_path / "ran").unlink()
    forget()
    other = tmp_path / "other.py"
    other.write_text("")
    with pytest.raises(PluginError, match=r"other\.py \(SHA-256 "):
        trust.run_named([plugin, other], tmp_path)
    assert not (tmp_path / "ran").exists()


def test_byte_code_of_allowed_file_is_not_run(plugin: Path, tmp_path: Path) -> None:
    """It has the same size and time of change as the source, and is another program."""
    innocent = "".ljust(len(plugin.read_text()) - 1, "#") + "\n"
    evil = plugin.read_text()
    cached = Path(cache_from_source(str(plugin)))
    compiled(str(plugin), cfile=str(cached), doraise=True)
    before = plugin.stat()
    plugin.write_text(innocent)
    os.utime(plugin, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(evil) == len(innocent)
    assert cached.is_file()
    trust.run_given([plugin])
    forget()
    trust.run_named([plugin], tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["code.pyc", "code.so", "code.txt", "code"])
def test_only_python_source_is_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(PluginError, match=r"a name that ends in \.py"):
        trust.run_given([tmp_path / name])


@pytest.mark.slow
@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 3, "b": [1]}', "[" * 100_000])
def test_damaged_consent_file_allows_nothing(plugin: Path, tmp_path: Path, content: str) -> None:
    memory = tmp_path / "configuration" / "mmfusion" / trust.FILE
    memory.parent.mkdir(parents=True)
    memory.write_text(content)
    with pytest.raises(PluginError, match="that you have not allowed"):
        trust.run_named([plugin], tmp_path)
    trust.run_given([plugin])
    forget()
    trust.run_named([plugin], tmp_path)
    assert json.loads(memory.read_text())[str(plugin.resolve())]
    assert stat.S_IMODE(memory.stat().st_mode) == 0o600


def test_unwritable_consent_file_asks_again(plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    trust.run_given([plugin])
    forget()
    with pytest.raises(PluginError, match="that you have not allowed"):
        trust.run_named([plugin], tmp_path)


def test_loaded_plugin_needs_no_consent(plugin: Path, tmp_path: Path) -> None:
    plugin_files.import_files([plugin])
    trust.run_named([plugin], tmp_path)
