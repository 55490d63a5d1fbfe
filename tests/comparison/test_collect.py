from pathlib import Path

import pytest

from helpers import run_folders
from mmfusion.comparison.collect import collect
from mmfusion.comparison.finished_run import complete


def test_path_of_run_and_duplicate_paths(tmp_path: Path) -> None:
    place = run_folders.write(tmp_path / "a", n=6)
    assert len(collect([place, tmp_path, tmp_path / "a"]).runs) == 1


def test_duplicate_run_is_skipped_with_reason(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "a", n=6)
    run_folders.write(tmp_path / "b", n=6, overrides={"run": {"device": "cpu"}})
    run_folders.write(tmp_path / "c", n=6, seed=1)
    result = collect([tmp_path])
    assert [run.folder.name for run in result.runs] == ["a", "c"]
    assert run_folders.reasons(tmp_path) == {"b": f"it has the same settings and test cases as {tmp_path / 'a'}"}


def test_nonexistent_folder_is_skipped(tmp_path: Path) -> None:
    assert run_folders.reasons(tmp_path / "nowhere") == {"nowhere": "the folder does not exist"}
    assert not collect([tmp_path]).skipped


def test_duplicate_seed_is_skipped(tmp_path: Path) -> None:
    """Settings that change no prediction, or explicit defaults, make no second run of a method and seed."""
    run_folders.write(tmp_path / "a", n=6)
    run_folders.write(tmp_path / "b", n=6, overrides={"train": {"resamples": 9, "eval_batch_size": 2}})
    run_folders.write(tmp_path / "c", n=6, overrides={"model": {"dim": 128}, "data": {"n_train": 3000}})
    run_folders.write(tmp_path / "d", n=6, seed=1)
    result = collect([tmp_path])
    assert [run.folder.name for run in result.runs] == ["a", "d"]
    assert {item.folder.name: item.reason for item in result.skipped} == dict.fromkeys(
        ("b", "c"), f"it has the same settings and test cases as {tmp_path / 'a'}"
    )


def recorded(**content: object) -> dict[str, object]:
    return {"metrics": {"content": content}, "overrides": {"run": {"plugins": []}}}


@pytest.mark.slow
def test_other_file_content_is_not_a_duplicate(tmp_path: Path) -> None:
    """Recorded file contents go before their paths."""
    first, other = "1" * 64, "2" * 64
    for name, content in {
        "a": {"data": {"split_file": first}},
        "b": {"data": {"split_file": other}},
        "c": {"data": {"split_file": first}},
        "d": {"plugins": [first]},
        "e": {"plugins": [first, other]},
        "f": {"plugins": [first]},
        "g": {},
    }.items():
        run_folders.write(tmp_path / name, n=6, **recorded(**content))
    result = collect([tmp_path])
    assert [run.folder.name for run in result.runs] == ["a", "b", "d", "e", "g"]
    assert run_folders.reasons(tmp_path) == {
        copy: f"it has the same settings and test cases as {tmp_path / kept}" for copy, kept in (("c", "a"), ("f", "d"))
    }
    assert complete(result.runs[0])["data"]["split_file"] == "sha256:1111111111"
    assert complete(result.runs[3])["run"]["plugins"] == "sha256:1111111111+sha256:2222222222"


@pytest.mark.parametrize(("column", "value"), [("id", "new"), ("label", "nevus"), ("group", "new")])
def test_other_test_cases_are_not_a_duplicate(tmp_path: Path, column: str, value: str) -> None:
    """Without recorded file contents; the same cases in another order are the same."""
    frame = run_folders.predictions(n=6)
    assert frame.loc[7, "part"] == "test"
    assert frame.loc[7, column] != value
    run_folders.write(tmp_path / "a", n=6)
    run_folders.write(tmp_path / "b", frame=run_folders.changed(column, value))
    run_folders.write(tmp_path / "c", frame=frame.iloc[::-1])
    assert [run.folder.name for run in collect([tmp_path]).runs] == ["a", "b"]


def test_trial_is_not_a_result(tmp_path: Path) -> None:
    run_folders.write(tmp_path / "a", n=6)
    run_folders.write(tmp_path / "trial", n=6, overrides={"run": {"test": False}}, parts=["validation"])
    unfinished = run_folders.write(tmp_path / "unfinished", n=6, overrides={"run": {"test": False}})
    (unfinished / "metrics.json").unlink()
    result = collect([tmp_path])
    assert [run.folder.name for run in result.runs] == ["a"]
    assert result.trials == (tmp_path / "trial",)
    assert run_folders.reasons(tmp_path) == {"unfinished": "unfinished: metrics.json is missing"}
