import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from helpers import distributed_runs as runs
from helpers.processes import together
from mmfusion.experiments import folder, run
from mmfusion.training import processes
from mmfusion.training.result_files import read_json

ROOT = Path(__file__).parents[2]


def test_single_process_has_all_cases() -> None:
    assert (processes.index(), processes.is_main(), processes.launched()) == (0, True, False)
    assert processes.share(5) == range(5)
    assert processes.process_seed(7) == 7
    assert processes.mean([1.0, 2.5]) == [1.0, 2.5]
    assert processes.from_main(lambda: "made") == "made"
    with processes.together(), processes.main_first():
        processes.wait()


@pytest.mark.parametrize(("n", "size"), [(10, 2), (11, 3), (2, 3), (0, 2)])
def test_shares_partition_cases_in_order(n: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "n_processes", lambda: size)
    shares = []
    for rank in range(size):
        monkeypatch.setattr(processes, "index", lambda rank=rank: rank)
        shares.append(processes.share(n))
    assert [case for share in shares for case in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_process_seeds_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = set()
    for rank in range(4):
        monkeypatch.setattr(processes, "index", lambda rank=rank: rank)
        seeds.add(processes.process_seed(3))
    assert 3 in seeds
    assert len(seeds) == 4


def test_more_processes_than_gpus_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "local_index", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"torch sees 2: start at most 2, or use run\.device=cpu"):
        processes.gpu_of_process()


class Store(dict[str, bytes]):
    """What processes leave for each other."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)

    def get(self, key: str) -> bytes:  # type: ignore[override]  # a store of torch, in a dict
        return self[key]


FAULT, GONE = ValueError("rotten"), RuntimeError("Connection closed by peer")


@pytest.mark.parametrize(
    ("rank", "error", "others", "raised", "said"),
    [
        # The main process tells of its own faults, whatever the others say.
        (0, FAULT, {}, FAULT, "failed"),
        (0, FAULT, {1: "failed"}, FAULT, "failed"),
        # A fault that the main one found too is told there; one of this process alone is told here.
        (1, FAULT, {0: "failed"}, SystemExit(2), "failed"),
        (1, FAULT, {}, FAULT, "failed"),
        (1, FAULT, {2: "failed"}, FAULT, "failed"),
        # What follows from another's end is not told.
        (0, GONE, {2: "failed"}, SystemExit(2), None),
        (1, GONE, {0: "interrupted"}, SystemExit(130), None),
        (0, GONE, {1: "interrupted"}, KeyboardInterrupt(), "interrupted"),
        # Nobody said why, as after a kill.
        (0, GONE, {}, GONE, "failed"),
        (0, KeyboardInterrupt(), {}, KeyboardInterrupt(), "interrupted"),
        (1, KeyboardInterrupt(), {}, SystemExit(130), "interrupted"),
    ],
)
def test_one_process_reports_the_error(
    rank: int,
    error: BaseException,
    others: dict[int, str],
    raised: BaseException,
    said: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store({f"mmfusion/end/{other}": word.encode() for other, word in others.items()})
    monkeypatch.setattr(processes, "n_processes", lambda: 3)
    monkeypatch.setattr(processes, "index", lambda: rank)
    monkeypatch.setattr(processes, "_WORD", 0.0)
    monkeypatch.setattr(processes._Ends, "store", store)
    monkeypatch.setattr(processes._Ends, "seen", None)
    with pytest.raises(type(raised)) as caught, processes.together(), processes.together():
        raise error
    assert str(caught.value) == str(raised)
    own = store.pop(f"mmfusion/end/{rank}", None)
    assert (None if own is None else own.decode()) == said


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Where two processes ran everything, and what each saw: starting them costs more than what they compute."""
    out = tmp_path_factory.mktemp("two")
    return out, together(runs.everything, out, str(out))


def alone(name: str, out: Path, changes: dict[str, Any] | None = None) -> Path:
    with runs.exactly():
        return run.start(runs.settings(name, out, changes, **runs.RUNS[name])).folder


def check_same(found: Path, expected: Path) -> None:
    """History, predictions, metrics and weights of two folders, to rounding; losses are kept in float32."""
    for one, other in zip(*(read_json(out / folder.HISTORY) for out in (found, expected)), strict=True):
        assert (one["epoch"], one["phase"], one["cases"]) == (other["epoch"], other["phase"], other["cases"])
        assert one["losses"] == pytest.approx(other["losses"], rel=1e-6)
        assert one["validation"] == pytest.approx(other["validation"], rel=1e-9)
    one, other = (pd.read_csv(out / folder.PREDICTIONS) for out in (found, expected))
    pd.testing.assert_frame_equal(one, other, rtol=1e-8, atol=1e-10)
    one, other = (read_json(out / folder.METRICS) for out in (found, expected))
    assert one["chosen"]["epoch"] == other["chosen"]["epoch"]
    for part in ("validation", "test"):
        for name, metric in other[part].items():
            same = {key: value for key, value in metric.items() if not isinstance(value, float)}
            assert {key: one[part][name][key] for key in same} == same  # no interval, and why
            numbers = {key: value for key, value in metric.items() if isinstance(value, float)}
            assert {key: one[part][name][key] for key in numbers} == pytest.approx(numbers, rel=1e-7, abs=1e-9)
    one, other = runs.weights(found), runs.weights(expected)
    assert one.keys() == other.keys()
    for name, value in other.items():
        torch.testing.assert_close(one[name], value, rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "cfcml" else pytest.mark.exhaustive) for name in runs.RUNS],
)
def test_two_processes_match_one(name: str, two: Any, tmp_path: Path) -> None:
    check_same(two[0] / name, alone(name, tmp_path / name))
    assert read_json(two[0] / name / folder.METRICS)["cost"]["processes"] == 2
    assert read_json(two[0] / name / folder.ENVIRONMENT)["processes"] == 2
    assert {path.name for path in (two[0] / name).iterdir()} >= {folder.SETTINGS, folder.SPLITS, folder.CASE}


@pytest.mark.slow
def test_share_without_a_modality_matches_one_process(two: Any, tmp_path: Path) -> None:
    """Its encoder gets no gradient there, and that of the others counts."""
    steps = list(zip(*(seen["absent"] for seen in two[1])))
    assert any(one[name] != other[name] for one, other in steps for name in one)
    check_same(two[0] / "absent", alone("concat", tmp_path / "absent", runs.ABSENT))


@pytest.mark.slow
def test_maps_are_encoded_once_for_all_processes(two: Any, tmp_path: Path) -> None:
    kept = sorted((two[0] / "cache" / "maps").iterdir())
    check_same(two[0] / "maps", alone("concat", tmp_path / "maps", runs.cached(two[0])))
    assert len(kept) == 3  # training, validation and, for the robustness, test
    assert sorted((two[0] / "cache" / "maps").iterdir()) == kept


@pytest.mark.slow
def test_interrupted_run_resumes_in_two_processes_or_one(two: Any, tmp_path: Path) -> None:
    expected = alone("concat", tmp_path / "whole")
    with runs.exactly():
        run.resume(two[0] / "killed-alone")
    for name in ("killed", "killed-alone"):
        check_same(two[0] / name, expected)


@pytest.mark.slow
def test_modality_dropout_differs_between_processes(two: Any, tmp_path: Path) -> None:
    """The main process draws as a single process does."""
    first, second = (seen["drawn"] for seen in two[1])
    with runs.exactly():
        single = runs.drawn(tmp_path / "dropout")
    assert len(first) == len(second) == len(single) == 4
    assert {seed for seed, _ in first} == {seed for seed, _ in single}
    for (one, mask), (other, others) in zip(first, second, strict=True):
        assert one != other
        assert not torch.equal(mask[:5], others[:5])


@pytest.mark.slow
def test_all_processes_have_metrics_and_one_writes_them(two: Any) -> None:
    written = read_json(two[0] / "absent" / folder.METRICS)
    assert [seen["metrics"] for seen in two[1]] == [written, written]


@pytest.mark.slow
def test_gradients_and_statistics_are_averaged(two: Any) -> None:
    """A missing one counts as zero, one missing everywhere stays missing; rank 1's numbers are 10 larger."""
    for rank, seen in enumerate(two[1]):
        small = seen["small"]
        assert small["grads"] == [[1.5, 1.5], [4.0, 4.0], None]
        assert small["means"] == [6.0, 7.0]
        assert small["frozen"] == [1.0, 1.0]
        assert small["weights"] == two[1][0]["small"]["weights"]
        assert (small["main"], small["mean"], small["total"], small["rank"]) == (0, [0.5], 7, rank)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ACCELERATE = (
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)
TINY = (
    str(Path(__file__).parents[1] / "helpers" / "fakes.py"),
    "run",
    "--model",
    "tiny",
    "--dataset",
    "tiny",
    "--batch-size",
    "16",
)


def launch(launcher: tuple[str, ...], *arguments: str, where: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments, "--device", "cpu", "--set", "train.resamples=20", "--out", "run"],
        cwd=where,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.exhaustive
@pytest.mark.slow
def test_torchrun_writes_one_run(tmp_path: Path) -> None:
    size = ("--size", "32", *(f"--set=data.n_{part}=24" for part in ("train", "validation", "test")))
    with launch(
        TORCHRUN, str(ROOT / "benchmarks/run.py"), "--model=cfcml", "--epochs=1", *size, where=tmp_path
    ) as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("The results are in run") == 1
    assert said.count("epoch 1/1") == 1
    assert read_json(tmp_path / "run" / folder.ENVIRONMENT)["processes"] == 2


@pytest.mark.exhaustive
@pytest.mark.slow
def test_accelerate_launch_reports_error_once(tmp_path: Path) -> None:
    with launch(ACCELERATE, *TINY, "--set", "model.explode_after=6", where=tmp_path) as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert said.count("the loss is not finite in step 3 of the epoch") == 1
    assert said.count("epoch 1/10") == 1
    assert "[rank" not in said  # no traceback of ours
    assert not (tmp_path / "run" / folder.METRICS).exists()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_ctrl_c_ends_all_processes(tmp_path: Path) -> None:
    with launch(TORCHRUN, *TINY, "--epochs=200", "--set", "model.pause=0.02", where=tmp_path) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "epoch 2/200" in line:
                process.send_signal(signal.SIGINT)
                break
        began = time.monotonic()
        said += process.communicate(timeout=300)[0]
    assert time.monotonic() - began < 60
    assert said.count("mmfusion: interrupted after epoch") == 1
    assert "[rank" not in said
    assert (tmp_path / "run" / "last.safetensors").is_file()
