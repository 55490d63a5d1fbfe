import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mmfusion import registry
from mmfusion.cli import main
from mmfusion.training import ablation, folder, run, settings
from mmfusion.training.files import read_json
from mmfusion.training.reporter import Silent

TABLE: dict[str, dict[str, Any]] = {"narrow": {"width": 2}, "wide": {"width": 16}, "as-it-is": {"width": 8}}
Ablate = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def ablate(fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ablate:
    registry.ablations.list()
    monkeypatch.setitem(registry.ablations._builders, "tiny", lambda: TABLE)

    def ablated(overrides: dict[str, Any] | None = None, **options: Any) -> list[dict[str, Any]]:
        base = {"run": {"device": "cpu"}, "train": {"epochs": 2, "batch_size": 16, "resamples": 50}}
        resolved = settings.resolve("tiny", "tiny", [base, overrides or {}])
        return ablation.ablate(resolved, tmp_path / "out", options.pop("reporter", Lines()), **options)

    return ablated


class Lines(Silent):
    """Remembers what was said, and presses Ctrl-C when it hears something."""

    def __init__(self, stop: str = "never") -> None:
        self.lines: list[str] = []
        self.stop = stop

    def say(self, text: str) -> None:
        self.lines.append(text)
        if text.startswith(self.stop):
            raise KeyboardInterrupt


def written(place: Path) -> dict[str, int]:
    return {str(path.relative_to(place)): path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}


def test_a_folder_each_and_a_table(ablate: Ablate, tmp_path: Path) -> None:
    rows, out = ablate(), tmp_path / "out"
    assert [row["ablation"] for row in rows] == ["full", "narrow", "wide"]  # 8 is the width anyway
    assert {path.name for path in out.iterdir()} == {"full", "narrow", "wide", "ablations.csv", "ablations.md"}
    assert [folder.read_settings(out / name).model for name in ("full", "narrow", "wide")] == [
        {},
        {"width": 2},
        {"width": 16},
    ]
    for row in rows:
        metrics = read_json(out / row["ablation"] / folder.METRICS)
        assert row["auc"] == metrics["test"]["auc"]["value"]
        assert row["auc_low"] <= row["auc"] <= row["auc_high"]
        assert row["parameters"] == metrics["cost"]["parameters"]["total"]
        assert row["seconds"] == metrics["cost"]["seconds"]
    assert rows[1]["parameters"] < rows[0]["parameters"] < rows[2]["parameters"]
    with (out / ablation.CSV).open() as file:
        read = list(csv.DictReader(file))
    assert [float(row["auc"]) for row in read] == [row["auc"] for row in rows]
    lines = (out / ablation.MARKDOWN).read_text().splitlines()
    assert lines[0] == "| ablation | test AUC (95% interval) | parameters | seconds |"
    auc = "{auc:.3f} ({auc_low:.3f} to {auc_high:.3f})".format(**rows[1])
    assert lines[3] == f"| narrow | {auc} | {rows[1]['parameters']} | {rows[1]['seconds']:.0f} |"
    assert len(lines) == 5


@pytest.mark.slow
def test_the_second_time_nothing_is_run(ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ablate()
    before = {name: at for name, at in written(tmp_path / "out").items() if "/" in name}
    monkeypatch.setattr(run, "_build", lambda *_, **__: pytest.fail("built again"))
    assert ablate() == first
    assert {name: at for name, at in written(tmp_path / "out").items() if "/" in name} == before


@pytest.mark.slow
def test_what_was_interrupted_goes_on(ablate: Ablate, tmp_path: Path) -> None:
    """In the middle of a run: the finished ones stay, that one is resumed, the others follow."""
    whole = {row["ablation"]: row["auc"] for row in ablate()}
    out = tmp_path / "out"
    shutil.rmtree(out)

    class Stop(Lines):
        def say(self, text: str) -> None:
            if text.startswith("epoch 1/2") and any(line.startswith("tiny, narrow") for line in self.lines):
                raise KeyboardInterrupt
            super().say(text)

    with pytest.raises(run.Interrupted, match="interrupted at narrow; the same command goes on from there"):
        ablate(reporter=Stop())
    assert sorted(path.name for path in out.iterdir()) == ["full", "narrow"]
    before = written(out / "full")
    again = Lines()
    rows = ablate(reporter=again)
    assert {row["ablation"]: row["auc"] for row in rows} == whole
    assert written(out / "full") == before
    assert f"{out / 'full'} is finished already" in again.lines
    assert "going on after epoch 1 of 2" in again.lines


@pytest.mark.slow
def test_other_settings_in_the_same_folder(ablate: Ablate, tmp_path: Path) -> None:
    ablate(only=["full", "wide"])
    before = written(tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds runs of other settings \(full, wide\).*--overwrite.*--out"):
        ablate({"train": {"lr": 0.5}})
    assert written(tmp_path / "out") == before
    ablate({"train": {"lr": 0.5}}, only=["full"], overwrite=True)
    assert folder.read_settings(tmp_path / "out" / "full").train.lr == 0.5


@pytest.mark.slow
def test_one_that_fails_does_not_stop_the_others(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_OFFLINE", "1")
    monkeypatch.setitem(TABLE, "heavy", {"weights": "some"})
    monkeypatch.setitem(TABLE, "last", {"width": 4})
    with pytest.raises(ablation.AblationError, match="1 of 5 failed: heavy: these weights cannot be fetched"):
        ablate()
    with (tmp_path / "out" / ablation.CSV).open() as file:
        assert [row["ablation"] for row in csv.DictReader(file)] == ["full", "narrow", "wide", "last"]


@pytest.mark.slow
def test_from_the_command_line(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = "run --model tiny --dataset tiny --epochs 1 --batch-size 16 --device cpu --set train.resamples=50 --seed 3"
    assert main([*words.split(), "--ablate", "full", "wide"]) == 0
    out = tmp_path / "runs" / "tiny" / "tiny" / "ablations-seed3"
    assert {path.name for path in out.iterdir()} == {"full", "wide", "ablations.csv", "ablations.md"}
    text = capsys.readouterr().out
    assert "test AUC (95% interval)" in text
    assert main([*words.split(), "--ablate", "--out", str(tmp_path / "all")]) == 0
    assert (tmp_path / "all" / "narrow" / folder.METRICS).is_file()
    capsys.readouterr()
    for wrong, message in (
        (["run", "--resume", str(out / "full"), "--ablate"], "leave out --ablate"),
        ([*words.split(), "--ablate", "wid"], "no ablation 'wid'; did you mean 'wide'"),
        ([*words.split(), "--model", "concat", "--dataset", "synthetic-derm7pt", "--ablate"], "has no ablations"),
    ):
        assert main(wrong) == 2
        assert message in capsys.readouterr().err
