"""A run's folder: a kill at any moment of its beginning leaves nothing that anybody refuses."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mmfusion.experiments import folder
from mmfusion.training.result_files import read_json

NEW = {"format": 1, "run": {"model": "new"}}
OLD = {"format": 1, "run": {"model": "old"}}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def dying(place: Path, call: str, *, before: bool) -> bool:
    """Whether a process that makes the folder dies in a system call, as of a SIGKILL before or after it."""
    child = os.fork()
    if child == 0:
        real: Callable[..., object] = getattr(os, call)

        def kill(*arguments: object, **options: object) -> None:
            if not before:
                real(*arguments, **options)
            os._exit(9)

        setattr(os, call, kill)
        try:
            folder.create(place, NEW)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("call", ["open", "fsync", "chmod", "replace", "rename", "unlink", "mkdir"])
@pytest.mark.parametrize("there", ["nothing", "an empty folder", "a former run"])
def test_kill_during_first_write_leaves_usable_folder(tmp_path: Path, there: str, call: str, before: bool) -> None:
    place = tmp_path / "runs" / "run"
    place.parent.mkdir()
    if there != "nothing":
        place.mkdir()
    if there == "a former run":
        folder.create(place, OLD)
        (place / folder.METRICS).touch()
    dying(place, call, before=before)
    if there == "a former run":
        # One of the two: there is always something to go on with.
        assert read_json(place / folder.SETTINGS) in (OLD, NEW)
    elif place.exists() and any(place.iterdir()):
        assert read_json(place / folder.SETTINGS) == NEW
    elif there == "nothing":
        assert not place.exists()
    for overwrite in (True, False) if there != "a former run" and not (place / folder.SETTINGS).exists() else (True,):
        folder.check_free(place, overwrite=overwrite)
    folder.create(place, NEW)
    assert read_json(place / folder.SETTINGS) == NEW
    assert [path.name for path in place.iterdir()] == [folder.SETTINGS]
    assert [path.name for path in place.parent.iterdir()] == ["run"]


def test_partial_files_of_killed_run_are_removed(tmp_path: Path) -> None:
    """As older versions left them."""
    left = tmp_path / f".{folder.SETTINGS}.abc.part"
    left.touch()
    folder.check_free(tmp_path, overwrite=False)
    folder.create(tmp_path, NEW)
    assert [path.name for path in tmp_path.iterdir()] == [folder.SETTINGS]
    (tmp_path / ".notes.txt.part").touch()
    (tmp_path / folder.SETTINGS).unlink()
    with pytest.raises(FileExistsError, match="holds files that are not a run's"):
        folder.check_free(tmp_path, overwrite=True)


def test_folders_of_other_runs_are_kept(tmp_path: Path) -> None:
    other = tmp_path / ".run.abc.part"
    other.mkdir()
    (other / "results.csv").touch()
    folder.create(tmp_path / "run", NEW)
    assert (other / "results.csv").exists()


def test_run_in_current_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder.create(Path(), NEW)
    assert [path.name for path in Path().iterdir()] == [folder.SETTINGS]
