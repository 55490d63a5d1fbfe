"""Run folders with damaged files, by kind: one line each, and the other runs are reported all the same."""

import gzip
import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from helpers import run_folders
from mmfusion.comparison.collect import collect
from mmfusion.comparison.reading import read_metrics
from mmfusion.experiments import folder
from mmfusion.training.checkpoints import load as load_checkpoint
from mmfusion.training.result_files import DEEPEST, parse_json, read_json

NEEDED = ("settings.json", "metrics.json", "predictions.csv")
JSON = ("settings.json", "metrics.json", "environment.json", "history.json", "robustness.json")
CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(100),
    "no text": b"\xff\xfe\x00{",
    "cut off": b'{"format": 1, "notes": [',
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep but valid": b'{"format": 1, "run":' + b"[" * 500 + b"]" * 500 + b"}",
    "a number": b"7",
    "a text": b'"x"',
    "null": b"null",
    "a list": b"[[1, 2], [3]]",
    "long number": b'{"format": 1, "cost": {"seconds": ' + b"9" * 4000 + b"}}",
    "longer number": b'{"format": 1, "cost": {"seconds": ' + b"9" * 9000 + b"}}",
    "no numbers": b'{"format": 1, "cost": NaN}',
    "other kinds": b'{"format": 1, "run": [], "train": 3, "data": "x", "model": null, "rows": {}, "notes": 4}',
    "kinds within": b'{"format": 1, "ceilings": {"both": []}, "commit": {}, "rows": [3], "run": {"model": []}}',
    "another format": b'{"format": "1"}',
    "boolean format": b'{"format": []}',
}


def runs(tmp_path: Path) -> Path:
    """A good run, and another with every optional file."""
    run_folders.write(tmp_path / "good", n=6)
    files = {"environment.json": {"versions": {}}, "history.json": [], "robustness.json": {"format": 1, "rows": []}}
    return run_folders.write(tmp_path / "bad", n=6, seed=1, files=files)


def spoilt(tmp_path: Path, name: str, kinds: Mapping[str, Callable[[Path], object]]) -> dict[str, str]:
    """By kind, why a run with that file is left out; all lie in one folder with a good one."""
    bad = runs(tmp_path)
    for kind, make in kinds.items():
        place = tmp_path / kind
        shutil.copytree(bad, place)
        (place / name).unlink()
        make(place / name)
    shutil.rmtree(bad)
    result = collect([tmp_path])
    # Files that do no harm leave copies of one run.
    reasons = {item.folder.name: item.reason for item in result.skipped if "the same settings" not in item.reason}
    for reason in reasons.values():
        assert name in reason
        assert "\n" not in reason
        assert len(reason) < 600
    assert "good" in [run.folder.name for run in result.runs]
    return reasons


def writers(contents: Mapping[str, bytes]) -> dict[str, Callable[[Path], object]]:
    return {kind: partial(Path.write_bytes, data=content) for kind, content in contents.items()}


# What is read as nothing at all, or has no key that is read.
HARMLESS = {
    "environment.json": {"null", "other kinds", "another format", "boolean format"},
    "history.json": {"null"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON)
def test_damaged_json_is_skipped_with_reason(tmp_path: Path, name: str) -> None:
    assert set(spoilt(tmp_path, name, writers(CONTENTS))) >= set(CONTENTS) - HARMLESS.get(name, set())


def test_damaged_predictions_are_skipped_with_reason(tmp_path: Path) -> None:
    assert set(spoilt(tmp_path, "predictions.csv", writers(CONTENTS))) == set(CONTENTS)


SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "loop": lambda path: path.symlink_to(path.name),
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("name", NEEDED)
def test_special_files_are_skipped_with_reason(tmp_path: Path, name: str) -> None:
    assert set(spoilt(tmp_path, name, SPECIAL)) == set(SPECIAL)


def test_compressed_bomb_is_skipped_with_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = runs(tmp_path)
    (place / "predictions.csv").unlink()
    (place / "predictions.csv.gz").write_bytes(gzip.compress(bytes(2**22)))
    monkeypatch.setattr("mmfusion.comparison.reading._MOST_BYTES", 2**20)
    assert run_folders.reasons(tmp_path)["bad"] == "predictions.csv.gz cannot be read: it holds more than 1048576 bytes"
    for content in (b"\x1f\x8b", b"\x1f\x8bhello, this is not it", gzip.compress(b"x" * 999)[:-20]):
        (place / "predictions.csv.gz").write_bytes(content)
        assert "predictions.csv.gz cannot be read" in run_folders.reasons(tmp_path)["bad"]


def test_circular_links_are_skipped(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "good", n=6)
    (tmp_path / "good" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    result = collect([tmp_path, tmp_path / "pipe", tmp_path / "loop"])
    assert len(result.runs) == 1
    assert {item.reason for item in result.skipped} == {"the folder does not exist"}


@pytest.mark.parametrize("kind", CONTENTS)
def test_other_readers_raise_one_line_errors(tmp_path: Path, kind: str) -> None:
    """``predict`` and ``--resume``, a sweep, a checkpoint's header: a ValueError that names the file."""
    place = tmp_path
    for name, read in (
        (folder.SETTINGS, lambda: folder.read_settings(place)),
        (folder.CASE, lambda: folder.read_case(place)),
        (folder.METRICS, lambda: read_metrics(place)),
        ("best.safetensors", lambda: load_checkpoint(place / "best.safetensors")),
    ):
        content = CONTENTS[kind]
        if name.endswith("safetensors"):
            header = json.dumps({"__metadata__": {"mmfusion": content.decode("latin-1")}}).encode()
            content = len(header).to_bytes(8, "little") + header
        (place / name).write_bytes(content)
        if name in (folder.CASE, "best.safetensors") and kind in ("other kinds", "kinds within"):
            read()  # what is within is looked at by those who use it
            continue
        with pytest.raises(ValueError, match=r"^[^\n]{1,500}$"):
            read()


def test_json_nesting_limit() -> None:
    for n, good in ((DEEPEST, True), (DEEPEST + 1, False)):
        text = "[" * n + "]" * n
        if good:
            assert json.dumps(parse_json(text)) == text
        else:
            with pytest.raises(ValueError, match="nested deeper than 50 levels"):
                parse_json(text)


def test_error_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(CONTENTS["deep list"])
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON: it is nested deeper"):
        read_json(tmp_path / "a.json")
