import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from helpers import run_folders
from mmfusion.comparison.collect import collect
from mmfusion.comparison.compact import compact
from mmfusion.comparison.reading import read

SPLIT = "id,group,part\n1,1,train\n2,2,train\n3,3,test\n"
FILES = {
    "history.json": [{"epoch": 1, "phase": "train", "losses": {"ce": 0.5}, "validation": {"auc": 0.7}}],
    "environment.json": {"device": "cpu", "command": "/home/me/run.py", "versions": {"torch": "2.6"}},
    "robustness.json": {"format": 1, "rows": [{"kind": "cells", "share": 0.0, "metrics": {"auc": {"value": 0.5}}}]},
    "splits.csv": SPLIT,
    "subgroups.csv": "id,sex\nt0-000,f\n",
    "best.safetensors": "weights",
}


def content(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_trials_are_kept(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "runs" / "a", n=12)
    run_folders.write(tmp_path / "runs" / "b", n=12, overrides={"run": {"test": False}}, parts=["validation"])
    kept = compact([tmp_path / "runs"], tmp_path / "small")
    assert kept.folders == (tmp_path / "small" / "a", tmp_path / "small" / "b")
    again = collect([tmp_path / "small"])
    assert (len(again.runs), again.trials, again.skipped) == (1, (tmp_path / "small" / "b",), ())


def test_kept_files(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "runs" / "d" / "a", n=12, files=FILES)
    run_folders.write(tmp_path / "runs" / "d" / "b", seed=1, n=12, files=FILES, names=("007", "NA"))
    kept = compact([tmp_path / "runs"], tmp_path / "small")
    assert kept.folders == (tmp_path / "small" / "d" / "a", tmp_path / "small" / "d" / "b")
    assert not kept.skipped
    result = content(tmp_path / "small")
    assert kept.size == sum(map(len, result.values()))
    [split] = [name for name in result if name.startswith("splits/")]
    assert gzip.decompress(result.pop(split)).decode() == SPLIT
    names = ("environment.json", "history.json.gz", "metrics.json", "predictions.csv.gz", "robustness.json.gz")
    assert sorted(result) == [f"d/{run}/{name}" for run in "ab" for name in (*names, "settings.json")]
    for name in "ab":
        before, after = read(tmp_path / "runs" / "d" / name), read(tmp_path / "small" / "d" / name)
        np.testing.assert_allclose(after.test.probabilities, before.test.probabilities, rtol=5e-5)
        assert after.test.ids.tolist() == before.test.ids.tolist()
        assert (after.classes, after.seed, after.history, after.robustness, after.settings) == (
            before.classes,
            before.seed,
            before.history,
            before.robustness,
            before.settings,
        )
        assert after.environment == {"device": "cpu", "versions": {"torch": "2.6"}}
        assert before.subgroups is not None
        assert after.subgroups is None


def test_subgroups_are_optional(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "a", n=3, files=FILES)
    [place] = compact([tmp_path / "a"], tmp_path / "small", subgroups=True).folders
    assert place == tmp_path / "small" / "a"
    assert (read(place).subgroups or {})["sex"].tolist() == ["f", "", ""]


def test_small_probabilities_keep_their_order(tmp_path: Path) -> None:
    frame = run_folders.predictions(n=4, parts=("test",))
    frame["prob_melanoma"] = [1.2345e-7, 1.2346e-7, 0.5, 0.25]
    frame["prob_nevus"] = 1 - frame["prob_melanoma"]
    run_folders.write(tmp_path / "a", frame=frame)
    [place] = compact([tmp_path / "a"], tmp_path / "small").folders
    assert pd.read_csv(place / "predictions.csv.gz")["prob_melanoma"].tolist() == [1.2345e-7, 1.2346e-7, 0.5, 0.25]


def test_copy_has_no_machine_paths(tmp_path: Path) -> None:
    path = run_folders.write(tmp_path / "a", overrides={"train": {"epochs": 3}}) / "settings.json"
    packed = json.loads(path.read_text())
    plugins = ["/home/me/mine.py", "other.py"]
    packed["run"] |= {"root": "/data/derm7pt", "cache": "C:\\cache\\images", "plugins": plugins}
    path.write_text(json.dumps(packed))
    [place] = compact([tmp_path / "a"], tmp_path / "small").folders
    run = json.loads((place / "settings.json").read_text())["run"]
    assert (run["root"], run["cache"], run["plugins"]) == ("derm7pt", "images", ["mine.py", "other.py"])
    assert read(place).settings.train.epochs == 3


def test_compact_is_deterministic_and_idempotent(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "runs" / "a", n=12, files=FILES)
    compact([tmp_path / "runs"], tmp_path / "small")
    first = content(tmp_path / "small")
    compact([tmp_path / "runs"], tmp_path / "small")
    assert content(tmp_path / "small") == first
    compact([tmp_path / "small"], tmp_path / "smaller")
    again = content(tmp_path / "smaller")
    # The split is beside the runs, not in them: it is not found there again.
    assert again == {name: result for name, result in first.items() if not name.startswith("splits/")}


def test_colliding_folders_raise(tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "other")):
        run_folders.write(tmp_path / name / "a", seed=seed)
    with pytest.raises(ValueError, match=r"would both be copied to .*a: give each its own folder"):
        compact([tmp_path / "one", tmp_path / "other"], tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_file_digests_are_kept(tmp_path: Path) -> None:
    """A run on another table at the same path does not replace the previous one."""
    contents = [{"data": {"table": digit * 64}, "plugins": [digit * 64]} for digit in "12"]
    for name, content in zip(("one", "other"), contents):
        run_folders.write(tmp_path / name / "a", metrics={"content": content})
    [place] = compact([tmp_path / "one"], tmp_path / "small").folders
    assert read(place).metrics["content"] == contents[0]
    with pytest.raises(ValueError, match="holds a different run than"):
        compact([tmp_path / "other"], tmp_path / "small")
    assert read(place).metrics["content"] == contents[0]


def test_unfinished_runs_are_skipped(tmp_path: Path) -> None:
    place = run_folders.write(tmp_path / "runs" / "a")
    run_folders.write(tmp_path / "runs" / "b", seed=1)
    (tmp_path / "runs" / "b" / "metrics.json").unlink()
    kept = compact([tmp_path / "runs"], tmp_path / "small")
    assert [(item.folder.name, item.reason) for item in kept.skipped] == [("b", "unfinished: metrics.json is missing")]
    with pytest.raises(ValueError, match="is the folder of the run itself: choose another folder"):
        compact([tmp_path / "runs"], tmp_path / "runs")
    run_folders.write(tmp_path / "others" / "a", "cfcml")
    with pytest.raises(ValueError, match="holds a different run than"):
        compact([tmp_path / "others"], tmp_path / "small")
    with pytest.raises(FileExistsError, match="is a file: choose another folder"):
        compact([tmp_path / "runs"], place / "settings.json")
    (place / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"no finished run in .*: unfinished: metrics.json is missing"):
        compact([tmp_path / "runs"], tmp_path / "elsewhere")
    assert len(collect([tmp_path / "small"]).runs) == 1
    assert not (tmp_path / "elsewhere").exists()
