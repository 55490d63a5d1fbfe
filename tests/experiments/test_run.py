import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.marks import EXHAUSTIVE
from mmfusion.comparison.reading import read
from mmfusion.experiments import assembly, folder, run
from mmfusion.experiments.settings import Settings
from mmfusion.metrics.classification import evaluate
from mmfusion.spec import DataSpec, Image
from mmfusion.training import checkpoints, inference, processes, result_files
from mmfusion.training.loop import Training
from mmfusion.training.reporter import Silent
from mmfusion.training.result_files import read_json
from mmfusion.training.seeds import derive

Start = Callable[..., Path]


class Lines(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.slow
def test_run_writes_all_files(start: Start) -> None:
    out = start()
    assert {path.name for path in out.iterdir()} == set(folder.FILES)
    history, metrics = read_json(out / folder.HISTORY), read_json(out / folder.METRICS)
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    assert set(history[0]["losses"]) == {"ce", "penalty"}
    assert history[0]["cases"] == 64
    chosen = max(history, key=lambda entry: entry["validation"]["auc"])
    assert metrics["chosen"] == {"epoch": chosen["epoch"], "metric": "auc", "value": chosen["validation"]["auc"]}
    assert metrics["cost"]["parameters"] == {"total": 4 * 8 + 8 + 16 + 18, "trainable": 74}
    assert metrics["cost"]["flops_per_case"] == 2 * (4 * 8 + 8 * 2)
    assert metrics["cases"] == {"train": 64, "validation": 64, "test": 64}
    assert metrics["groups"] == {"validation": 32, "test": 32}
    environment = read_json(out / folder.ENVIRONMENT)
    assert environment["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert (out / folder.CURVE).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_read_files_are_recorded_at_start(start: Start, tmp_path: Path) -> None:
    """A file that is changed during the run was read before."""
    split = tmp_path / "split.csv"
    split.write_text("a\n")
    digest = hashlib.sha256(b"a\n").hexdigest()

    class Changing(Lines):
        def say(self, text: str) -> None:
            super().say(text)
            split.write_text("b\n")

    out = start("with", {"data": {"split_file": str(split)}, "train": {"epochs": 1}}, reporter=Changing())
    assert split.read_text() == "b\n"
    for name in (folder.METRICS, folder.CASE):
        kept = read_json(out / name)["content"]
        assert set(kept) == {"data", "cases"}
        assert kept["data"] == {"split_file": digest}
        assert {kind: set(of) for kind, of in kept["cases"].items()} == {
            "labels": {"dx"},
            "columns": {"size", "site"},
            "images": set(),
        }
    bare = start("without", {"train": {"epochs": 1}})
    assert set(read_json(bare / folder.METRICS)["content"]) == {"cases"}


@pytest.mark.slow
def test_finished_run_of_newer_version_raises(start: Start) -> None:
    out = start("run", {"train": {"epochs": 1}})
    (out / folder.METRICS).write_text('{"format": 99}')
    with pytest.raises(ValueError, match=r"metrics\.json has format 99, this version of mmfusion reads up to 1"):
        run.resume(out)


@pytest.mark.slow
def test_predictions_reproduce_metrics(start: Start) -> None:
    out = start()
    frame = pd.read_csv(out / folder.PREDICTIONS)
    assert list(frame.columns) == ["id", "group", "part", "label", "fold", "seed", "prob_good", "prob_bad"]
    assert frame["part"].value_counts().to_dict() == {"validation": 64, "test": 64}
    metrics = read_json(out / folder.METRICS)
    for part in ("validation", "test"):
        rows = frame[frame["part"] == part]
        found = evaluate(
            rows[["prob_good", "prob_bad"]],
            rows["label"] == "bad",
            threshold=metrics["threshold"],
            names=("good", "bad"),
        )
        for name, value in found.items():
            assert metrics[part][name]["value"] == pytest.approx(value[0], abs=1e-12)
            low, high = metrics[part][name]["low"], metrics[part][name]["high"]
            assert (low is None) == (high is None)
            assert low is None or low <= high  # F1 and others have none where a class has few cases
        assert metrics[part]["auc"]["low"] < metrics[part]["auc"]["value"] < metrics[part]["auc"]["high"]
    splits = pd.read_csv(out / folder.SPLITS)
    assert splits["part"].value_counts().to_dict() == {"train": 64, "validation": 64, "test": 64}
    assert splits["id"].is_unique


@pytest.mark.slow
def test_subgroups_match_table(start: Start, fakes: ModuleType) -> None:
    frame = pd.read_csv(start(overrides={"data": {"missing": 0.2}}) / folder.SUBGROUPS)
    truth = pd.concat([fakes.table(64, seed, 0.2) for seed in (1, 2)], ignore_index=True)
    assert list(frame.columns) == ["id", "where", "how large"]
    assert frame["id"].tolist() == truth["case"].tolist()
    assert frame["where"].tolist() == truth["site"].tolist()
    bands = ["unknown" if np.isnan(x) else "below 0.5" if x < 0.5 else "0.5 and over" for x in truth["size"]]
    assert frame["how large"].tolist() == bands
    assert {"unknown", "below 0.5", "0.5 and over"} == set(bands)


@pytest.mark.slow
def test_fold_is_in_predictions_and_metrics(start: Start) -> None:
    out = start(overrides={"data": {"fold": 2, "split_file": "splits.csv"}})
    assert set(pd.read_csv(out / folder.PREDICTIONS)["fold"]) == {2}
    assert read_json(out / folder.METRICS)["fold"] == 2
    # A run is resumed from anywhere.
    settings = folder.read_settings(out)
    assert settings.data["split_file"] == str(Path("splits.csv").absolute())
    settings.run.out = None
    assert folder.default(settings) == Path("runs/tiny/tiny/seed0-fold2")


@pytest.mark.slow
def test_training_improves_auc(start: Start) -> None:
    metrics = read_json(start(overrides={"train": {"epochs": 12}}) / folder.METRICS)
    assert metrics["test"]["auc"]["value"] > 0.7
    share = (metrics["test"]["auc"]["value"] - 0.8) / 0.1
    assert metrics["gap_closed"]["value"] == pytest.approx(share)


def same_weights(one: Path, other: Path) -> bool:
    """Of two runs whose settings, which are in the checkpoints' headers, differ."""
    a, b = (checkpoints.load(out / checkpoints.BEST)[0] for out in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param({}, id="plain"),
        *(
            pytest.param(overrides, id=name, marks=pytest.mark.slow if name in ("bf16", "missing") else EXHAUSTIVE)
            for name, overrides in {
                "balanced": {"train": {"sampler": "balanced", "clip_norm": "none", "optimizer": "adam"}},
                "bf16": {"run": {"precision": "bf16"}},
                "missing": {"data": {"missing": 0.3}},
                "cells changed, grouped": {
                    "train": {"augment": {"table": {"corrupt": 0.2, "mask": 0.1, "cutmix": 0.1}}, "sampler": "grouped"}
                },
                "weighted": {"train": {"sampler": "weighted", "sampler_options": {"power": 0.5}}},
            }.items()
        ),
    ],
)
def test_runs_are_deterministic(start: Start, overrides: dict[str, Any]) -> None:
    first, second = start("a", overrides), start("b", overrides)
    assert (first / folder.PREDICTIONS).read_bytes() == (second / folder.PREDICTIONS).read_bytes()
    assert (first / checkpoints.BEST).read_bytes() == (second / checkpoints.BEST).read_bytes()
    third = start("c", {**overrides, "run": {**overrides.get("run", {}), "seed": 1}})
    assert (first / folder.PREDICTIONS).read_bytes() != (third / folder.PREDICTIONS).read_bytes()


@pytest.mark.slow
def test_run_restores_random_state(start: Start) -> None:
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    start()
    assert torch.equal(torch.rand(3), wanted)
    assert not torch.are_deterministic_algorithms_enabled()


class _Killed(BaseException):
    """Nothing handles it, as nothing handles SIGKILL."""


def _results(out: Path) -> list[object]:
    files = ((out / name).read_bytes() for name in (folder.PREDICTIONS, checkpoints.BEST))
    return [*files, read_json(out / folder.METRICS)["test"]]


_WHOLE: dict[bool, list[object]] = {}
"""Results of runs that nobody killed, without and with pretraining: trained once for all tests."""

# Writes: 0 settings, 1 case, 2 splits; of each epoch the best weights, if they are, and the last; then the results.
# A run that pretrains has every kind of write; one that does not begins its only phase otherwise.
SLOW = ((1, True), (5, True), (12, True), (3, False))
OTHERS = (*((at, True) for at in (2, 3, 4, 6, 7, 8, 9, 10, 11)), (1, False), (4, False))


@pytest.mark.parametrize(
    ("at", "pretrain"),
    [
        *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOW),
        *(pytest.param(*one, marks=EXHAUSTIVE) for one in OTHERS),
    ],
)
def test_resumed_after_kill_at_any_write_matches_uninterrupted(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at: int, pretrain: bool
) -> None:
    overrides = {"model": {"pretrain": pretrain}, "train": {"epochs": 2}}
    if pretrain not in _WHOLE:
        _WHOLE[pretrain] = _results(start("whole", overrides))
    writes, real = 0, os.replace

    def killed(source: Any, target: Any) -> None:
        nonlocal writes
        writes += 1
        if writes == at + 1:
            raise _Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(_Killed):
        start("killed", overrides)
    monkeypatch.setattr(os, "replace", real)
    out = tmp_path / "killed"
    run.resume(out)
    assert _results(out) == _WHOLE[pretrain]
    assert {path.name for path in out.iterdir()} == set(folder.FILES)


CHANGED = {"augment": {"table": {"corrupt": 0.3, "mask": 0.1, "cutmix": 0.2}}}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grouped", "weighted"])
def test_resumed_with_augmentation_and_sampler_matches(
    start: Start, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    overrides = {"train": {**CHANGED, "epochs": 3, "sampler": sampler}}
    whole = start("whole", overrides)
    real = Training._epoch

    def epoch(self: Training, index: int, phase: Any, number: int, **options: Any) -> None:
        if number == 1:
            raise _Killed
        real(self, index, phase, number, **options)

    monkeypatch.setattr(Training, "_epoch", epoch)
    with pytest.raises(_Killed):
        start("killed", overrides)
    monkeypatch.setattr(Training, "_epoch", real)
    run.resume(whole.with_name("killed"))
    assert (whole.with_name("killed") / checkpoints.BEST).read_bytes() == (whole / checkpoints.BEST).read_bytes()


@pytest.mark.slow
def test_number_of_workers_does_not_change_results(start: Start) -> None:
    alone, two = (start(f"w{n}", {"train": {**CHANGED, "workers": n, "sampler": "grouped"}}) for n in (0, 2))
    assert same_weights(alone, two)


def test_processes_augment_with_distinct_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    training = object.__new__(Training)
    training.seed = 0
    seeds = []
    for process in range(3):
        monkeypatch.setattr(processes, "index", lambda process=process: process)
        seeds.append(training._step_seed(4, 7))
    assert seeds[0] == derive(0, 4, 7)
    assert len(set(seeds)) == 3


@pytest.mark.slow
def test_resume_repeats_no_finished_epoch(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Training._epoch
    seen: list[int] = []

    def epoch(self: Training, index: int, phase: Any, number: int, **options: Any) -> None:
        seen.append(number)
        if len(seen) == 3:
            raise _Killed
        real(self, index, phase, number, **options)

    monkeypatch.setattr(Training, "_epoch", epoch)
    with pytest.raises(_Killed):
        start("a", {"train": {"epochs": 4}})
    lines = Lines()
    run.resume(tmp_path / "a", lines)
    assert seen == [0, 1, 2, 2, 3]
    assert "continuing after epoch 2 of 4" in lines.lines


@pytest.mark.slow
def test_resume_of_finished_run_only_reads(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    out = start()
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr(run, "build", lambda *_, **__: pytest.fail("built again"))
    lines = Lines()
    assert run.resume(out, lines).metrics == read_json(out / folder.METRICS)
    assert "holds a finished run" in lines.lines[0]
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.slow
def test_resume_needs_no_pretrained_weights(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    out = start(overrides={"model": {"weights": "some"}})
    (out / folder.METRICS).unlink()
    monkeypatch.setenv("TINY_OFFLINE", "1")
    run.resume(out)
    with pytest.raises(ValueError, match="cannot be fetched"):
        start("b", {"model": {"weights": "some"}})


@pytest.mark.slow
def test_resume_on_other_data_raises(start: Start) -> None:
    out = start()
    (out / folder.METRICS).unlink()
    settings = read_json(out / folder.SETTINGS)
    settings["data"]["n"] = 60
    result_files.write_json(out / folder.SETTINGS, settings)
    with pytest.raises(ValueError, match="the dataset is not the one"):
        run.resume(out)


@pytest.mark.slow
def test_full_disk_keeps_previous_checkpoint(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = start("whole")
    writes, real = 0, os.fsync

    def full(handle: int) -> None:
        nonlocal writes
        writes += 1
        # settings, case, splits, best, last of the first epoch are there.
        if writes > 5:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(result_files.WriteError, match="No space left on device; the former one is still whole"):
        start("full")
    out = tmp_path / "full"
    assert checkpoints.load(out / checkpoints.LAST)[1]["progress"]["epoch"] == 1
    assert not list(out.glob(".*"))
    monkeypatch.setattr(os, "fsync", real)
    run.resume(out)
    assert (out / folder.PREDICTIONS).read_bytes() == (whole / folder.PREDICTIONS).read_bytes()


@pytest.mark.slow
def test_nonfinite_loss_stops_the_run(start: Start, tmp_path: Path) -> None:
    # Four steps an epoch; the objective explodes in the third step of the second.
    with pytest.raises(ValueError, match=r"not finite in step 3 of the epoch \(ce=\d.*, penalty=nan\)"):
        start(overrides={"model": {"explode_after": 6}})
    about = checkpoints.load(tmp_path / "run" / checkpoints.LAST)[1]
    assert about["progress"]["epoch"] == 1


@pytest.mark.slow
def test_first_step_is_checked(start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: Any, inputs: Any) -> None:
        raise ValueError("looked at the first step")

    monkeypatch.setattr(fakes.Objective, "check", check)
    with pytest.raises(ValueError, match="looked at the first step"):
        start()


@pytest.mark.slow
def test_inputs_are_checked_before_first_step(start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []

    def check(self: Any, inputs: Any, present: Any) -> None:
        seen.append(set(inputs))
        raise ValueError("looked at the inputs")

    monkeypatch.setattr(fakes.Tiny, "check", check, raising=False)
    with pytest.raises(ValueError, match="looked at the inputs"):
        start()
    assert seen == [{"meta"}]


@pytest.mark.parametrize(
    "overrides",
    [
        {"run": {"device": "cuda"}},
        {"run": {"device": "auto", "precision": "fp16"}},
        {"run": {"device": "auto", "precision": "tf32"}},
    ],
)
def test_unavailable_device_raises(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: dict[str, Any]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="CUDA device"):
        start(overrides=overrides)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model": {"weights": "some"}}, "cannot be fetched"),
        ({"run": {"root": "nowhere"}}, "no folder"),
        ({"train": {"batch_size": 1}}, "from 2 to 65536"),
    ],
)
def test_invalid_input_leaves_no_folder(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("TINY_OFFLINE", "1")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        start(overrides=overrides)
    assert not list(tmp_path.iterdir())


def test_unknown_phase_or_augmentation_raises(start: Start, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"phase_epochs names \['warm'\]; the phases of the model are \['train'\]"):
        start("a", {"train": {"phase_epochs": {"warm": 3}}})
    with pytest.raises(ValueError, match=r"train\.augment"):
        start("b", {"train": {"augment": {"colour_of_the_moon": 3}}})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_phase_epochs(start: Start) -> None:
    out = start(overrides={"model": {"pretrain": True}, "train": {"phase_epochs": {"pretrain": 1}, "epochs": 2}})
    history = read_json(out / folder.HISTORY)
    assert [entry["phase"] for entry in history] == ["pretrain", "train", "train"]
    assert history[0]["validation"] == {}
    assert read_json(out / folder.METRICS)["chosen"]["epoch"] > 1


@pytest.mark.slow
def test_existing_run_raises_without_overwrite(start: Start, tmp_path: Path) -> None:
    out = start()
    before = (out / folder.PREDICTIONS).read_bytes()
    with pytest.raises(FileExistsError, match=r"already holds a run.*resume=.*overwrite=True.*run.out"):
        start(overrides={"run": {"seed": 1}})
    assert (out / folder.PREDICTIONS).read_bytes() == before
    (out / "notes.txt").write_text("mine")
    start(overrides={"run": {"seed": 1}}, overwrite=True)
    assert (out / folder.PREDICTIONS).read_bytes() != before
    assert (out / "notes.txt").read_text() == "mine"


def test_folder_with_other_files_raises(start: Start, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="files that are not a run"):
        start(overwrite=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        start("file", overwrite=True)


@pytest.mark.slow
def test_settings_are_stored(start: Start) -> None:
    out = start(overrides={"train": {"lr": 0.02}, "data": {"n": 48}})
    packed = json.loads((out / folder.SETTINGS).read_text())
    assert (packed["format"], packed["train"]["lr"], packed["data"], packed["run"]["model"]) == (
        checkpoints.FORMAT,
        0.02,
        {"n": 48},
        "tiny",
    )
    assert folder.read_settings(out).train.lr == 0.02


@pytest.mark.slow
def test_test_set_is_read_at_the_end_only(start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fakes.FrameDataset.__getitems__
    asked: list[str] = []

    def noted(self: Any, indices: Any) -> Any:
        asked.append(self.ids[indices[0]][:2])
        return real(self, indices)

    monkeypatch.setattr(fakes.FrameDataset, "__getitems__", noted)
    # The reference rows are fitted on the training set afterwards.
    start("run", {"run": {"references": False}})
    # Seeds 0, 1, 2 made train, validation, test: test is read after everything else of training; for its predictions,
    # for the cost of a case, and for its tables and its cases without cells and modalities.
    first = asked.index("s2")
    assert "s0" not in asked[first:]
    assert np.count_nonzero(np.array(asked) == "s2") == 4


@pytest.mark.slow
def test_trial_does_not_read_test_set(start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fakes.FrameDataset.__getitems__
    asked: set[str] = set()

    def noted(self: Any, indices: Any) -> Any:
        asked.update(self.ids[index][:2] for index in indices)
        return real(self, indices)

    monkeypatch.setattr(fakes.FrameDataset, "__getitems__", noted)
    lines = Lines()
    out = start("trial", {"run": {"test": False}, "train": {"epochs": 1}}, reporter=lines)
    assert asked == {"s0", "s1"}  # train and validation
    assert {path.name for path in out.iterdir()} == set(folder.FILES) - {folder.ROBUSTNESS}
    metrics = read_json(out / folder.METRICS)
    assert not {"test", "references", "robustness"} & set(metrics)
    assert metrics["gap_closed"] is None
    assert set(metrics["scaled"]) == {"validation"}
    assert metrics["cost"]["flops_per_case"] == 2 * (4 * 8 + 8 * 2)
    for name in (folder.PREDICTIONS, folder.SUBGROUPS):
        assert pd.read_csv(out / name)["id"].str.startswith("s1").all()
    assert "The test set was not evaluated (run.test=false)." in lines.lines
    assert metrics["validation"] == read_json(start("whole", {"train": {"epochs": 1}}) / folder.METRICS)["validation"]


@pytest.mark.slow
def test_table_augmentation_only_in_training(start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """All cells of the training set are masked; evaluation sees every cell."""
    seen: list[tuple[bool, bool]] = []
    forward = fakes.Tiny.forward

    def noting(self: Any, inputs: Any, present: Any = None) -> Any:
        seen.append((self.training, bool((inputs["meta"].categorical >= 0).any())))
        return forward(self, inputs, present)

    monkeypatch.setattr(fakes.Tiny, "forward", noting)
    start(overrides={"train": {"augment": {"table": {"mask": 1.0}}, "epochs": 1}})
    assert {whole for training, whole in seen if training} == {False}
    assert {whole for training, whole in seen if not training} == {True}


@pytest.mark.slow
def test_zero_augmentation_does_not_change_results(start: Start) -> None:
    settings = {"table": {"corrupt": 0.0, "mask": 0.0, "cutmix": 0.0}, "padding": "zeros"}
    off = start("a", {"train": {"augment": settings}})
    assert same_weights(off, start("b"))


@pytest.mark.slow
def test_masked_cells_reach_losses(start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    forward = fakes.Objective.forward

    def noting(self: Any, inputs: Any) -> Any:
        seen.append(dict(inputs.aux))
        return forward(self, inputs)

    monkeypatch.setattr(fakes.Objective, "forward", noting)
    start("a", {"train": {"epochs": 1}})
    assert not any(seen)
    seen.clear()
    start("b", {"train": {"epochs": 1, "augment": {"table": {"corrupt": 0.5}}}})
    assert all(set(aux) == {"columns.numerical", "columns.categorical", "columns.masked"} for aux in seen)
    shares = torch.cat([aux["columns.masked"] for aux in seen]).float().mean()
    assert shares == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_epoch_chosen_on_test_set_is_noted(start: Start) -> None:
    out = start(overrides={"train": {"select_on": "test", "epochs": 2}, "run": {"notes": ["Mine."], "preset": "p"}})
    metrics, frame = read_json(out / folder.METRICS), pd.read_csv(out / folder.PREDICTIONS)
    assert metrics["notes"] == ["This dataset is made up.", "Mine.", assembly.CHOSEN_ON_TEST]
    assert metrics["preset"] == "p"
    assert metrics["validation"] == metrics["test"]
    assert metrics["chosen"]["value"] == pytest.approx(metrics["test"]["auc"]["value"])
    ids = [frame.loc[frame["part"] == part, "id"].tolist() for part in ("validation", "test")]
    assert ids[0] == ids[1]
    finished = Lines()
    run.resume(out, finished)
    assert any("chosen by test auc" in line for line in finished.lines)


@pytest.mark.slow
def test_epoch_chosen_by_mean_of_metrics(start: Start) -> None:
    metric = "auc+accuracy_1+average_precision_called"
    out = start(overrides={"train": {"metric": metric}})
    metrics, history = read_json(out / folder.METRICS), read_json(out / folder.HISTORY)
    for entry in history:
        parts = [entry["validation"][name] for name in metric.split("+")]
        assert entry["validation"][metric] == pytest.approx(sum(parts) / 3)
    best = max(history, key=lambda entry: entry["validation"][metric])
    assert (metrics["chosen"]["epoch"], metrics["chosen"]["metric"]) == (best["epoch"], metric)
    assert 0 < metrics["test"]["average_precision_called"]["value"] <= 1
    with pytest.raises(ValueError, match="has 'accuracy_2', which is not defined for 2 classes"):
        start("other", {"train": {"metric": "accuracy_2"}})


@pytest.mark.slow
def test_fixed_threshold(start: Start) -> None:
    out = start(overrides={"train": {"threshold": 0.25, "epochs": 1}})
    metrics, frame = read_json(out / folder.METRICS), pd.read_csv(out / folder.PREDICTIONS)
    assert (metrics["threshold"], metrics["threshold_chosen"]) == (0.25, False)
    bad = frame[(frame["part"] == "test") & (frame["label"] == "bad")]
    assert metrics["test"]["sensitivity"]["value"] == pytest.approx((bad["prob_bad"] >= 0.25).mean())
    said = Lines()
    run.resume(out, said)
    assert any("at 0.250, the threshold of the settings" in line for line in said.lines)


@pytest.mark.slow
def test_images_without_encoder_normalization() -> None:
    """Without the mean and deviation of the encoder's weights; a loaded model does the same."""
    spec = DataSpec({"image": Image(3, (16, 16))}, n_classes=2)
    chosen = {"run": {"model": "image", "dataset": "synthetic_derm7pt"}, "model": {"encoder": "convnet"}}
    plain, bare = (
        assembly.build_model(Settings.from_dict(chosen | {"train": {"normalise": one}}), spec, weights=False)
        for one in (True, False)
    )
    (encoder,), (other,) = (model.encoders.backbones.values() for model in (plain, bare))
    assert bool((encoder.mean != 0).all())
    x = torch.rand(2, 3, 16, 16)
    assert torch.equal(other.normalise(x), x)
    assert not torch.equal(encoder.normalise(x), x)
    plain.load_state_dict(bare.state_dict())
    assert torch.equal(encoder.normalise(x), x)


@pytest.mark.slow
def test_nonfinite_held_out_outputs_are_counted(
    start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends, without probabilities or metrics where the model has no answer."""
    whole = inference.Evaluation.probabilities
    n_test, asked = 64, list[int]()

    def broken(self: inference.Evaluation, model: Any) -> Any:
        p = whole(self, model)
        asked.append(len(p))
        if len(asked) == 3:  # after the epoch, of validation, of the test set
            p[[5, 7]] = np.nan
        return p

    monkeypatch.setattr(inference.Evaluation, "probabilities", broken)
    out = start(overrides={"train": {"epochs": 1}})
    assert asked == [n_test] * 3
    metrics = read_json(out / folder.METRICS)
    assert metrics["not_finite"] == {"test": 2}
    assert metrics["test"]["auc"]["value"] is None
    assert metrics["validation"]["auc"]["value"] is not None
    frame = pd.read_csv(out / folder.PREDICTIONS)
    assert frame["prob_bad"].isna().sum() == 2
    assert {row["drop"] for row in metrics["robustness"]["rows"]} == {None}
    with pytest.raises(ValueError, match="the probabilities of 2 out of 128 cases are not finite"):
        read(out)


@pytest.mark.slow
def test_far_out_of_range_held_out_numbers_are_noted(
    start: Start, fakes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fakes.table

    def odd(n: int, seed: int, missing: float = 0.0) -> pd.DataFrame:
        frame = whole(n, seed, missing)
        if seed == 2:
            frame.loc[[3, 8], "size"] = 1e12
        return frame

    monkeypatch.setattr(fakes, "table", odd)
    out = start(overrides={"train": {"epochs": 1}})
    notes = [note for note in read_json(out / folder.METRICS)["notes"] if "far outside" in note]
    assert len(notes) == 1
    assert notes[0].startswith("Column 'size': 2 values of the test set far outside the training range of ")
    assert notes[0].endswith("count as missing: row 3, row 8.")
