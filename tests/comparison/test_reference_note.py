import json
from pathlib import Path

from mmfusion.comparison import grid, reference_note
from mmfusion.comparison.grid import Planned


def plan(out: Path, text: str = "concat,cfcml") -> list[Planned]:
    return grid.plan(grid.methods(text), ["synthetic_derm7pt"], out=out)


def finish(planned: Planned) -> None:
    planned.folder.mkdir(parents=True)
    (planned.folder / "metrics.json").write_text("{}")


def test_reference_named_at_start_is_kept(tmp_path: Path) -> None:
    """After a kill and at the end; one named after some results exist was not named beforehand."""
    out = tmp_path / "runs"
    planned = plan(out)
    assert reference_note.note(out, "concat", planned)
    finish(planned[0])
    assert reference_note.note(out, "concat", planned)
    assert not reference_note.note(out, "cfcml", planned)
    finish(planned[1])
    assert reference_note.note(out, "concat", planned)
    assert not reference_note.note(out, "cfcml", planned)
    assert json.loads((out / "reference.json").read_text()) == {
        "cfcml": [planned[1].address],
        "concat": sorted(item.address for item in planned),
    }


def test_existing_runs_count_as_results(tmp_path: Path) -> None:
    """A sweep that adds a method to finished ones; not if all are overwritten."""
    finish(plan(tmp_path, "concat")[0])
    assert not reference_note.note(tmp_path, "cfcml", plan(tmp_path))
    assert reference_note.note(tmp_path, "cfcml", plan(tmp_path), overwrite=True)


def test_reference_of_finished_runs_writes_no_note(tmp_path: Path) -> None:
    [planned] = plan(tmp_path, "concat")
    finish(planned)
    assert not reference_note.note(tmp_path, "concat", [planned])
    assert not (tmp_path / "reference.json").exists()
