import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mmfusion.training import result_files


def test_write_replaces_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    result_files.write_text(path, "one")
    result_files.write_text(path, "two ä")
    assert path.read_text(encoding="utf-8") == "two ä"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_written_file_has_default_permissions(tmp_path: Path) -> None:
    result_files.write_text(tmp_path / "a", "one")
    (tmp_path / "b").write_text("one")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_keeps_previous_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "a"
    result_files.write_text(path, "one")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(
        result_files.WriteError, match="No space left on device; the former one is still whole"
    ) as caught:
        result_files.write_text(path, "two")
    assert "make room or check permissions" in str(caught.value)
    assert path.read_text() == "one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_ctrl_c_while_writing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        result_files.write_text(tmp_path / "a", "one")
    assert not list(tmp_path.iterdir())


def test_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(result_files.WriteError, match="No such file or directory"):
        result_files.write_text(tmp_path / "b" / "a", "one")


def test_json_rejects_nan_both_ways(tmp_path: Path) -> None:
    result_files.write_json(tmp_path / "a.json", {"x": [1, None, "ä"]})
    assert result_files.read_json(tmp_path / "a.json") == {"x": [1, None, "ä"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        result_files.write_json(tmp_path / "b.json", {"x": float("nan")})
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(ValueError, match=r"c\.json is not valid JSON"):
        result_files.read_json(tmp_path / "c.json")
