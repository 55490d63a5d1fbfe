import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from mmfusion import registry
from mmfusion.comparison import grid, summary, sweep, worker
from mmfusion.comparison.grid import Planned
from mmfusion.experiments import folder, plugin_files, run
from mmfusion.training.reporter import Silent
from mmfusion.training.result_files import read_json
from mmfusion.utils import locks

BASE = {"run": {"device": "cpu"}, "train": {"epochs": 2, "batch_size": 16, "resamples": 50}}


class Lines(Silent):
    """Remembers what was said, and presses Ctrl-C when it hears something."""

    def __init__(self, stop: Callable[[list[str], str], bool] = lambda *_: False) -> None:
        self.lines: list[str] = []
        self.stop = stop

    def say(self, text: str) -> None:
        self.lines.append(text)
        if self.stop(self.lines, text):
            raise KeyboardInterrupt


@pytest.fixture
def plan(fakes: ModuleType, tmp_path: Path) -> Callable[..., list[Planned]]:
    def planned(text: str = "tiny,tiny[width=4]", seeds: Sequence[int] = (0, 1)) -> list[Planned]:
        return grid.plan(grid.methods(text), ["tiny"], [BASE], seeds=seeds, out=tmp_path / "runs")

    return planned


def written(place: Path) -> dict[str, int]:
    """When each file was written last."""
    return {
        str(path.relative_to(place)): path.stat().st_mtime_ns
        for path in place.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(place).parts)
    }


def aucs(outcomes: Sequence[sweep.Outcome]) -> list[float | None]:
    return [outcome.metrics and outcome.metrics["test"]["auc"]["value"] for outcome in outcomes]


@pytest.mark.slow
def test_finished_sweep_trains_nothing(
    plan: Callable[..., list[Planned]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, lines = plan(), Lines()
    outcomes = sweep.sweep(planned, lines, launcher=sweep.Here())
    sweep.check(outcomes)
    assert [outcome.planned for outcome in outcomes] == planned
    assert lines.lines[0] == "4 runs: 0 already finished, 0 to resume, 4 to start"
    assert "tiny[width=4] on tiny, seed 1 (4 of 4)" in lines.lines
    for outcome in outcomes:
        assert outcome.failure is None
        assert outcome.metrics == read_json(outcome.planned.folder / folder.METRICS)
        assert folder.read_settings(outcome.planned.folder).model == outcome.planned.settings.model
    before = written(tmp_path)
    monkeypatch.setattr(run, "build", lambda *_, **__: pytest.fail("built again"))
    again = Lines()
    assert aucs(sweep.sweep(planned, again, launcher=sweep.Here())) == aucs(outcomes)
    assert again.lines == ["4 runs: 4 already finished, 0 to resume, 0 to start"]
    assert written(tmp_path) == before


@pytest.mark.slow
def test_additional_setting_adds_a_run(plan: Callable[..., list[Planned]], tmp_path: Path) -> None:
    sweep.sweep(plan("tiny", (0,)), launcher=sweep.Here())
    before, lines = written(tmp_path), Lines()
    sweep.sweep(plan("tiny,tiny[width=4]", (0,)), lines, launcher=sweep.Here())
    assert lines.lines[0] == "2 runs: 1 already finished, 0 to resume, 1 to start"
    assert before.items() <= written(tmp_path).items()


@pytest.mark.slow
def test_interrupted_sweep_resumes(plan: Callable[..., list[Planned]], tmp_path: Path) -> None:
    """In the middle of the second run: the first stays, the second is resumed; the numbers are the same."""
    planned = plan()
    whole = aucs(sweep.sweep(planned, launcher=sweep.Here()))
    for item in planned:
        for file in item.folder.iterdir():
            file.unlink()
        item.folder.rmdir()
    stop = Lines(lambda lines, text: text.startswith("epoch 1/2") and "tiny[width=4] on tiny, seed 0 (2 of 4)" in lines)
    with pytest.raises(run.Interrupted, match=r"interrupted at tiny\[width=4\] on tiny, seed 0; the same command"):
        sweep.sweep(planned, stop, launcher=sweep.Here())
    before, again = written(planned[0].folder), Lines()
    assert aucs(sweep.sweep(planned, again, launcher=sweep.Here())) == whole
    assert again.lines[0] == "4 runs: 1 already finished, 1 to resume, 2 to start"
    assert "continuing after epoch 1 of 2" in again.lines
    assert written(planned[0].folder) == before


@pytest.mark.slow
def test_overwrite_starts_again(plan: Callable[..., list[Planned]]) -> None:
    planned = plan("tiny", (0,))
    first = aucs(sweep.sweep(planned, launcher=sweep.Here()))
    before, lines = written(planned[0].folder), Lines()
    assert aucs(sweep.sweep(planned, lines, launcher=sweep.Here(), overwrite=True)) == first
    assert lines.lines[0] == "1 run: 0 already finished, 0 to resume, 1 to start"
    after = written(planned[0].folder)
    assert after.keys() == before.keys()
    assert all(after[name] > before[name] for name in before)


def test_shared_failure_reason_is_given_once(plan: Callable[..., list[Planned]]) -> None:
    first, second, third = plan("tiny", (0, 1, 2))
    reasons = (first, "no table"), (second, None), (third, "no table")
    with pytest.raises(sweep.SweepError) as caught:
        sweep.check([sweep.Outcome(run, None, reason) for run, reason in reasons])
    assert str(caught.value) == "2 of 3 runs failed: tiny on tiny, seed 0 and tiny on tiny, seed 2: no table"


@pytest.mark.slow
def test_failing_run_does_not_stop_others(plan: Callable[..., list[Planned]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_OFFLINE", "1")
    lines = Lines()
    outcomes = sweep.sweep(plan("tiny[weights=some],tiny", (0,)), lines, launcher=sweep.Here())
    assert [outcome.failure for outcome in outcomes] == ["these weights cannot be fetched", None]
    assert lines.lines[-1] == "tiny[weights=some] on tiny, seed 0 failed: these weights cannot be fetched"
    with pytest.raises(sweep.SweepError, match=r"1 of 2 runs failed: tiny\[weights=some\] on tiny, seed 0: these"):
        sweep.check(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"format": 99}', "metrics.json has format 99 of a newer version, this one reads 1"),
        ("{", "metrics.json is not valid JSON: "),
        ("[]", "metrics.json was not written by mmfusion"),
        ('{"format": 1, "test": {"auc": {"value": 0.5}}}', "metrics.json has no test.auc.low"),
    ],
)
def test_unreadable_finished_run_is_reported_and_kept(
    plan: Callable[..., list[Planned]], content: str, reason: str
) -> None:
    """The others are finished, and are in the table."""
    bad, good = plan("tiny", (0, 1))
    bad.folder.mkdir(parents=True)
    (bad.folder / folder.METRICS).write_text(content)
    lines = Lines()
    outcomes = sweep.sweep([bad, good], lines, launcher=sweep.Here())
    assert lines.lines[0] == "2 runs: 0 already finished, 0 to resume, 1 to start, 1 cannot be read"
    failure = outcomes[0].failure or ""
    assert failure.startswith(reason)
    assert failure.endswith(f"; delete {bad.folder} to run it again, or start all runs anew with overwrite=True")
    assert lines.lines[-1] == f"tiny on tiny, seed 0 failed: {failure}"
    assert outcomes[1].failure is None
    [row] = summary.rows(outcomes)
    assert len(row.aucs) == 1
    assert (bad.folder / folder.METRICS).read_text() == content


@pytest.mark.slow
def test_finished_runs_without_robustness_are_reported(plan: Callable[..., list[Planned]], tmp_path: Path) -> None:
    """Robustness is not in the address of a run: asking for it finds the run made without."""
    without = {**BASE, "run": {**BASE["run"], "robustness": False}}
    built = grid.plan(grid.methods("tiny"), ["tiny"], [without], out=tmp_path / "runs")
    sweep.sweep(built, launcher=sweep.Here())
    lines = Lines()
    sweep.sweep(plan("tiny", (0,)), lines, launcher=sweep.Here())
    assert lines.lines == [
        "1 run: 1 already finished, 0 to resume, 0 to start",
        "1 run finished without robustness (run.robustness=false): overwrite=True starts all runs anew, with "
        "robustness",
    ]
    again = Lines()
    sweep.sweep(built, again, launcher=sweep.Here())
    assert len(again.lines) == 1
    # Of a compact copy the file is compressed.
    (built[0].folder / "robustness.json.gz").write_bytes(b"")
    again = Lines()
    sweep.sweep(plan("tiny", (0,)), again, launcher=sweep.Here())
    assert len(again.lines) == 1


def test_launcher_that_skips_a_run_is_a_failure(plan: Callable[..., list[Planned]]) -> None:
    class Nothing:
        def __call__(self, *_: object, **__: object) -> Mapping[str, str]:
            return {}

    assert [outcome.failure for outcome in sweep.sweep(plan(), launcher=Nothing())] == ["it did not finish"] * 4


def test_zero_jobs_raises() -> None:
    with pytest.raises(ValueError, match="jobs expects at least 1, got 0"):
        sweep.Processes(0)


class TestWork:
    @pytest.mark.slow
    def test_partial_first_file_of_killed_run_is_removed(self, plan: Callable[..., list[Planned]]) -> None:
        [first] = plan("tiny", (0,))
        first.folder.mkdir(parents=True)
        (first.folder / ".settings.json.abc.part").write_text("{")
        assert worker.work(first.settings, Silent())
        assert worker.finished(first.folder)
        assert not list(first.folder.glob(".*"))

    def test_folder_with_other_files_raises(self, plan: Callable[..., list[Planned]]) -> None:
        [first] = plan("tiny", (0,))
        first.folder.mkdir(parents=True)
        (first.folder / "mine.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="holds files that are not a run's"):
            worker.work(first.settings, Silent())

    @pytest.mark.slow
    @pytest.mark.skipif(not locks.AVAILABLE, reason="no locks on this system")
    def test_one_process_per_run(self, plan: Callable[..., list[Planned]]) -> None:
        [first] = plan("tiny", (0,))
        home = first.folder.parent / ".locks"
        home.mkdir(parents=True)
        with locks.alone(home / first.folder.name):
            assert not worker.work(first.settings, Silent())
            assert not first.folder.exists()
        assert worker.work(first.settings, Silent())
        lines = Lines()
        run.resume(first.folder, lines)
        assert "holds a finished run" in lines.lines[0]

    def test_missing_file_fails_one_run_only(self, plan: Callable[..., list[Planned]]) -> None:
        def absent(settings: object, *_: object, **__: object) -> bool:
            raise FileNotFoundError("no folder x")

        [first] = plan("tiny", (0,))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "work", absent)
            [outcome] = sweep.sweep([first], launcher=sweep.Here())
        assert outcome.failure == "no folder x"


def test_locked_runs_are_started_at_most_twice(
    plan: Callable[..., list[Planned]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First to see whether it is free, then to wait for it, all of them."""
    begun: list[tuple[int, bool, bool]] = []

    class Ended:
        def __init__(self, planned: Planned, code: int) -> None:
            self.planned, self.process, self.began, self.code = planned, self, 0.0, code

        def poll(self) -> int:
            return self.code

        def close(self) -> None: ...

        def reason(self, code: int) -> str:
            return f"code {code}"

    def begin(self: object, planned: Planned, slot: int, *, overwrite: bool, wait: bool) -> Ended:
        begun.append((planned.settings.run.seed, overwrite, wait))
        return Ended(planned, 1 if wait else worker.ELSEWHERE)

    monkeypatch.setattr(sweep, "_POLL_SECONDS", 0)
    monkeypatch.setattr(sweep.Processes, "_begin", begin)
    waiting = plan("tiny", (0, 1, 2))
    failures = sweep.Processes()(waiting, Silent(), overwrite=True)
    assert begun == [*((seed, True, False) for seed in range(3)), *((seed, False, True) for seed in range(3))]
    assert failures == {item.address: "code 1" for item in waiting}


@pytest.fixture
def command(plugin: Path, tmp_path: Path) -> list[str]:
    words = "run --dataset tiny --device cpu --epochs 2 --batch-size 16 --set train.resamples=50"
    out = ["--plugin", str(plugin), "--out", str(tmp_path / "runs")]
    return [sys.executable, "-m", "mmfusion.cli", *words.split(), *out]


def run_command(command: Sequence[str], *more: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *more], capture_output=True, text=True, timeout=300, **options)  # type: ignore[call-overload, no-any-return]  # subprocess's own overloads


def runs(place: Path) -> dict[str, bytes]:
    """By folder, the predictions of the models' runs that are finished, without the reference rows."""
    return {
        str(path.parent.relative_to(place)): (path.parent / folder.PREDICTIONS).read_bytes()
        for path in place.glob(f"tiny/tiny/*/{folder.METRICS}")
    }


@pytest.mark.slow
def test_several_jobs_in_parallel(command: list[str], tmp_path: Path) -> None:
    """Two at a time; one of the methods fails, and the table has the others."""
    models = ["--model", "tiny,tiny[width=4],tiny[weights=some]", "--seeds", "1", "--references", "table"]
    done = run_command(command, *models, "--jobs", "2", env={**os.environ, "TINY_OFFLINE": "1"})
    assert done.returncode == 2
    assert (
        "mmfusion: error: 1 of 3 runs failed: tiny[weights=some] on tiny, seed 0: these weights cannot" in done.stderr
    )
    assert "3 runs: 0 already finished, 0 to resume, 3 to start" in done.stdout
    assert "3 of 3: " in done.stdout
    place = tmp_path / "runs"
    # A header, the two methods that ran, and scikit-learn's two reference rows.
    assert len((place / "table.csv").read_text().splitlines()) == 1 + 2 + 2
    assert len(runs(place)) == 2


@pytest.mark.slow
@pytest.mark.exhaustive
def test_killed_sweep_resumes(command: list[str], tmp_path: Path) -> None:
    """``kill -9`` of the sweep ends its runs; the same command resumes, and two jobs give the numbers of one."""
    models = ["--model", "tiny[pause=0.1],tiny[pause=0.11]", "--seeds", "1", "--set", "run.references=false"]
    whole = tmp_path / "whole"
    assert run_command(command, *models, "--out", str(whole)).returncode == 0
    models += ["--jobs", "2"]
    place = tmp_path / "runs"
    process = subprocess.Popen([*command, *models], stdout=subprocess.DEVNULL, start_new_session=True)
    until(lambda: len(list(place.rglob("last.safetensors"))) == 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # Nobody works on them any more: their locks are free.
    until(lambda: all(free(path) for path in place.rglob(".locks/*")))
    done = run_command(command, *models)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 0 already finished, 2 to resume, 0 to start" in done.stdout
    assert runs(place) == runs(whole)


@pytest.mark.slow
def test_ctrl_c_resumes_with_same_command(command: list[str], tmp_path: Path) -> None:
    place = tmp_path / "runs"
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENS, *command, "--model", "tiny[pause=0.2]", "--seeds", "2"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: bool(list(place.rglob("last.safetensors"))))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "interrupted at tiny[pause=0.2] on tiny, seed 0; the same command resumes" in err
    assert all(free(path) for path in place.rglob(".locks/*"))


@pytest.fixture
def imported(plugin: Path) -> Iterator[Path]:
    """The plug-in, known to this process too, for one test."""
    plugin_files.import_files([plugin])
    yield plugin
    for kind in (registry.models, registry.datasets):
        del kind._builders["tiny"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_process_ends_when_its_input_pipe_closes(imported: Path, tmp_path: Path) -> None:
    """Even where Ctrl-C is ignored, as in a shell's background jobs; without input it runs to its end."""
    changes = [BASE, {"run": {"plugins": [str(imported)]}}]
    [first] = grid.plan(grid.methods("tiny[pause=0.2]"), ["tiny"], changes, out=tmp_path / "runs")
    orders = tmp_path / "orders.json"
    worker.write_order(orders, first.settings, overwrite=False, wait=False)
    command, silent = worker.command(orders, plugins=[str(imported)]), subprocess.DEVNULL
    ignoring = [sys.executable, "-c", IGNORES, *command]
    process = subprocess.Popen(ignoring, stdin=subprocess.PIPE, stdout=silent, stderr=silent)
    until(lambda: (first.folder / "last.safetensors").is_file())
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 130
    assert not worker.finished(first.folder)
    assert subprocess.run(command, stdin=silent, stdout=silent, timeout=300).returncode == 0
    assert worker.finished(first.folder)


# What is started from a shell's background ignores Ctrl-C, the tests too.
IGNORES, LISTENS = (
    f"import os, signal, sys; signal.signal(signal.SIGINT, signal.{how}); os.execv(sys.argv[1], sys.argv[1:])"
    for how in ("SIG_IGN", "SIG_DFL")
)


def until(true: Callable[[], bool], seconds: float = 100) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def free(path: Path) -> bool:
    with locks.alone(path) as ours:
        return ours


@pytest.mark.exhaustive
@pytest.mark.slow
def test_several_processes_per_run(command: list[str], tmp_path: Path) -> None:
    """Two of them, started by torchrun; errors in them are reported once."""
    arguments = ["--model", "tiny,tiny[weights=some]", "--processes", "2", "--set", "run.references=false"]
    done = run_command(command, *arguments, env={**os.environ, "TINY_OFFLINE": "1"})
    assert done.returncode == 2
    assert "1 of 2 runs failed: tiny[weights=some] on tiny, seed 0: these weights cannot be fetched" in done.stderr
    [metrics] = [read_json(path) for path in (tmp_path / "runs").glob(f"tiny/tiny/*/{folder.METRICS}")]
    assert metrics["cost"]["processes"] == 2


def test_missing_files_stop_sweep_at_start(tmp_path: Path) -> None:
    """One error that names them all, and no run is started."""
    table = {"run": {"root": str(tmp_path / "images")}, "data": {"table": str(tmp_path / "no.csv"), "label": "y"}}
    planned = grid.plan(grid.methods("concat,max"), ["table"], [table], seeds=(0, 1), out=tmp_path / "out")

    def launcher(*_: object, **__: object) -> dict[str, str]:
        raise AssertionError

    with pytest.raises(FileNotFoundError, match=r"no run was started.*data\.table: .*no\.csv, run\.root: .*images"):
        sweep.sweep(planned, launcher=launcher)
    assert not (tmp_path / "out").exists()
