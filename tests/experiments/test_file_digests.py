import hashlib
from pathlib import Path

import pytest

from mmfusion.experiments import file_digests
from mmfusion.experiments.settings import RunSettings, Settings


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_files_are_identified_by_content(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("a\n")
    data = {"table": str(table), "split_file": str(tmp_path / "none.csv"), "label": str(table), "folds": 3}
    assert file_digests.by_content(data) == {**data, "table": sha("a\n")}
    assert file_digests.by_content({"table": None, "split_file": 3}) == {"table": None, "split_file": 3}
    schema = {"schema": str(table), "save_schema": str(tmp_path / "other.toml")}
    assert file_digests.by_content(schema) == {"schema": sha("a\n")}


def test_digests_of_a_run(tmp_path: Path) -> None:
    """None for absent or unreadable files."""
    table, *plugins = (tmp_path / name for name in ("cases.csv", "b.py", "a.py"))
    for path, text in ((table, "a\n"), (plugins[0], "B = 1\n"), (plugins[1], "A = 1\n")):
        path.write_text(text)
    run = RunSettings("m", plugins=[*map(str, plugins)])
    data = {"table": str(table), "split_file": "none.csv", "size": 3}
    digests = sorted([sha("B = 1\n"), sha("A = 1\n")])
    assert file_digests.recorded(Settings(run, data=data)) == {"data": {"table": sha("a\n")}, "plugins": digests}
    assert file_digests.of_plugins(Settings(run)) == digests
    lost = RunSettings("m", plugins=[str(tmp_path / "none.py")])
    assert file_digests.recorded(Settings(lost, data={"table": None})) == {}
    with pytest.raises(FileNotFoundError, match=r"none\.py"):
        file_digests.of_plugins(Settings(lost))
