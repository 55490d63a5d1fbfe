"""Execution of a comparison's runs: finished ones are kept, interrupted ones resumed, the others started.

Each run is a process: one that fails, or is killed for memory, does not stop the others, and its peak memory is
measured alone.
"""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mmfusion.comparison import reading, worker
from mmfusion.comparison.grid import Planned
from mmfusion.experiments import file_digests, folder
from mmfusion.experiments.run import Interrupted
from mmfusion.training.reporter import Reporter, Silent

_POLL_SECONDS = 0.2
_STOP_SECONDS = 120.0

_KEYS = (("ceilings",), ("cost", "parameters", "total"), ("cost", "seconds"))
_KEYS_OF_TEST = (*(("test", "auc", key) for key in ("value", "low", "high")), *_KEYS)
_KEYS_OF_TRIAL = (("chosen", "value"), *_KEYS)


class SweepError(ValueError):
    """Some of the runs failed; the others are finished.

    Attributes:
        study: What was made of these, where a study was asked for.
    """

    study: Any = None


@dataclass(frozen=True)
class Outcome:
    """Outcome of a run.

    Attributes:
        planned: The run.
        metrics: Content of its ``metrics.json``; None if it failed.
        failure: Why it failed; None if it is finished.
    """

    planned: Planned
    metrics: Mapping[str, Any] | None
    failure: str | None


class Launcher(Protocol):
    """Computes runs."""

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Start or resume the runs until they are finished.

        Returns:
            By address, why a run failed.
        """


def sweep(
    planned: Sequence[Planned],
    reporter: Reporter | None = None,
    *,
    launcher: Launcher | None = None,
    overwrite: bool = False,
) -> list[Outcome]:
    """Start or resume every run of a comparison until it is finished.

    Args:
        planned: From :func:`~mmfusion.comparison.grid.plan`.
        reporter: Receives the progress.
        launcher: Computes the runs; None: :class:`Processes`, one after another.
        overwrite: Start finished and interrupted runs anew.

    Returns:
        One per run, in the order of ``planned``. A finished run of another version, or one that cannot be read, counts
        as failed and is left unchanged.

    Raises:
        FileNotFoundError: If a table, another file or the folder of a dataset does not exist; no run is started.
        Interrupted: If the user stops it; the same call resumes.
    """
    reporter = reporter or Silent()
    existing = {run.address: _outcome(run, None) for run in planned if worker.finished(run.folder) and not overwrite}
    done = [outcome for outcome in existing.values() if outcome.failure is None]
    waiting = [run for run in planned if run.address not in existing]
    check_files(waiting)
    begun = 0 if overwrite else sum((run.folder / folder.SETTINGS).is_file() for run in waiting)
    broken = f", {n} cannot be read" if (n := len(existing) - len(done)) else ""
    reporter.say(
        f"{_runs(len(planned))}: {len(done)} already finished, {begun} to resume, {len(waiting) - begun} to start"
        f"{broken}"
    )
    if bare := sum(_lacks_robustness(outcome) for outcome in done):
        reporter.say(
            f"{_runs(bare)} finished without robustness (run.robustness=false): overwrite=True starts all runs anew, "
            "with robustness"
        )
    launcher = launcher or Processes()
    failures = launcher(waiting, reporter, overwrite=overwrite) if waiting else {}
    outcomes = [existing.get(run.address) or _outcome(run, failures.get(run.address)) for run in planned]
    for outcome in outcomes:
        if outcome.failure:
            reporter.say(f"{outcome.planned.name} failed: {outcome.failure}")
    return outcomes


def check_files(planned: Sequence[Planned]) -> None:
    """Check that what datasets read exists: without it each of the runs would fail for the same reason.

    Args:
        planned: The runs.

    Raises:
        FileNotFoundError: If a table, another file or the folder of a dataset does not exist; it names all.
    """
    named = {
        f"{setting}: {path}"
        for run in planned
        for setting, path in (
            ("run.root", run.settings.run.root),
            *((f"data.{key}", run.settings.data.get(key)) for key in file_digests.FILES),
        )
        if isinstance(path, str) and not Path(path).exists()
    }
    if named:
        raise FileNotFoundError(f"no run was started, since files do not exist: {', '.join(sorted(named))}")


def check(outcomes: Sequence[Outcome]) -> None:
    """Check that no run failed.

    Raises:
        SweepError: If runs failed; it names all of them, and each reason once.
    """
    by_reason: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.failure:
            by_reason.setdefault(outcome.failure, []).append(outcome.planned.name)
    if by_reason:
        n = sum(map(len, by_reason.values()))
        reasons = "; ".join(f"{' and '.join(names)}: {reason}" for reason, names in by_reason.items())
        raise SweepError(f"{n} of {_runs(len(outcomes))} failed: {reasons}")


def _outcome(planned: Planned, failure: str | None) -> Outcome:
    if failure is not None or not worker.finished(planned.folder):
        return Outcome(planned, None, failure or "it did not finish")
    try:
        return Outcome(planned, _metrics(planned.folder, test=planned.settings.run.test), None)
    except (ValueError, OSError) as error:
        again = f"delete {planned.folder} to run it again, or start all runs anew with overwrite=True"
        return Outcome(planned, None, f"{' '.join(str(error).split())}; {again}")


def _metrics(place: Path, *, test: bool) -> Mapping[str, Any]:
    """Metrics of a finished run, checked for the keys that a sweep needs.

    Args:
        place: Its folder.
        test: Whether its test set was evaluated, as the table of a sweep needs; else it is a trial, which is judged by
            its validation metric.
    """
    metrics = reading.read_metrics(place)
    for keys in _KEYS_OF_TEST if test else _KEYS_OF_TRIAL:
        value: Any = metrics
        for key in keys:
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"{folder.METRICS} has no {'.'.join(keys)}")
            value = value[key]
        if not (value is None or isinstance(value, int | float | dict)) or isinstance(value, dict) != (
            keys == ("ceilings",)
        ):
            raise ValueError(f"{folder.METRICS}: {'.'.join(keys)} is not what a run writes, got {value!r:.80}")
    return metrics


def _lacks_robustness(outcome: Outcome) -> bool:
    expected, metrics = outcome.planned.settings.run.robustness, outcome.metrics or {}
    expected = expected and outcome.planned.settings.run.test
    return expected and "robustness" not in metrics and reading.find(outcome.planned.folder, folder.ROBUSTNESS) is None


class Here:
    """Launcher that computes one run after another in this process."""

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Compute the runs; see :class:`Launcher`."""
        failures: dict[str, str] = {}
        for number, planned in enumerate(waiting, start=1):
            reporter.say(f"{planned.name} ({number} of {len(waiting)})")
            try:
                worker.work(planned.settings, reporter, overwrite=overwrite, wait=True)
            except Interrupted as stop:
                raise Interrupted(f"interrupted at {planned.name}; the same command resumes") from stop
            except (ValueError, ImportError, OSError) as error:
                failures[planned.address] = " ".join(str(error).split())
        return failures


class Processes:
    """Launcher that computes each run in a process, several at once.

    With several at once each has its share of the cores (``OMP_NUM_THREADS``, unless that is set) and, in turn, one of
    the GPUs; their output is written to ``.logs/`` next to their folders.

    Args:
        jobs: Largest number of runs at once.
        processes: Number of processes that train one model together, each on its own GPU if there are several; see
            :mod:`mmfusion.training.processes`.

    Raises:
        ValueError: If ``jobs`` or ``processes`` is less than 1.
    """

    def __init__(self, jobs: int = 1, processes: int = 1) -> None:
        for name, value in (("jobs", jobs), ("processes", processes)):
            if value < 1:
                raise ValueError(f"{name} expects at least 1, got {value}")
        self.jobs = jobs
        self.processes = processes

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Compute the runs; see :class:`Launcher`."""
        queue, elsewhere = deque(waiting), list[Planned]()
        running: dict[int, _Job] = {}
        failures: dict[str, str] = {}
        seconds: list[float] = []
        total, number, wait = len(waiting), 0, False
        try:
            while queue or running or elsewhere:
                if not queue and not running:
                    # Runs that other processes had when their turn came.
                    reporter.say(f"waiting for {_runs(len(elsewhere))} of other processes")
                    queue, elsewhere = deque(elsewhere), []
                    overwrite, wait = False, True
                while queue and len(running) < self.jobs:
                    slot = min(set(range(self.jobs)) - set(running))
                    running[slot] = self._begin(queue.popleft(), slot, overwrite=overwrite, wait=wait)
                time.sleep(_POLL_SECONDS)
                for slot, job in list(running.items()):
                    code = job.process.poll()
                    if code is None:
                        continue
                    del running[slot]
                    job.close()
                    if code == worker.ELSEWHERE:
                        elsewhere.append(job.planned)
                        continue
                    number += 1
                    if code != worker.FINISHED:
                        failures[job.planned.address] = job.reason(code)
                    seconds.append(time.monotonic() - job.began)
                    left = (total - number) * sum(seconds) / len(seconds) / self.jobs
                    reporter.say(_line(number, total, job, code, seconds[-1], left))
        except KeyboardInterrupt as stop:
            _stop(running.values())
            names = ", ".join(job.planned.name for job in running.values()) or "the start"
            raise Interrupted(f"interrupted at {names}; the same command resumes") from stop
        except BaseException:
            _stop(running.values())
            raise
        return failures

    def _begin(self, planned: Planned, slot: int, *, overwrite: bool, wait: bool) -> "_Job":
        home = planned.folder.parent / ".logs"
        orders = home / f"{planned.folder.name}.json"
        worker.write_order(orders, planned.settings, overwrite=overwrite, wait=wait)
        log = home / f"{planned.folder.name}.log"
        file = log.open("wb")
        process = subprocess.Popen(
            worker.command(orders, self.processes, planned.settings.run.plugins),
            # Ends when this process does, however it ends.
            stdin=subprocess.PIPE,
            # A single run shows its progress; that of several would be mixed.
            stdout=None if self.jobs == 1 else file,
            stderr=file,
            env=self._environment(slot),
            # Only this process receives Ctrl-C, and passes it on.
            start_new_session=True,
        )
        return _Job(planned, process, file, log, time.monotonic())

    def _environment(self, slot: int) -> dict[str, str]:
        import torch

        environment = dict(os.environ)
        if not {"", os.getcwd()} & set(sys.path):
            # Then the run does not import from the working folder either.
            environment["PYTHONSAFEPATH"] = "1"
        per_run = self.processes
        if self.jobs * per_run == 1:
            return environment
        environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // (self.jobs * per_run))))
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(device) for device in range(torch.cuda.device_count())]
        if len(names) > 1:
            devices = [names[(slot * per_run + number) % len(names)] for number in range(min(per_run, len(names)))]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        return environment


@dataclass(frozen=True)
class _Job:
    planned: Planned
    process: "subprocess.Popen[bytes]"
    file: Any
    log: Path
    began: float

    def reason(self, code: int) -> str:
        """Why a process failed: its error message, else its signal or last line."""
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        message = next((line for line in reversed(lines) if line.startswith("mmfusion: ")), "")
        if message:
            return message.removeprefix("mmfusion: ").removeprefix("error: ")
        last = next((line for line in reversed(lines) if line), "")
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}; see {self.log}"
        return f"{last or f'its process ended with code {code}'}; see {self.log}"

    def close(self) -> None:
        """Close the files of a process that ended."""
        self.file.close()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def interrupt(self) -> None:
        """Close the input, at which each of its processes ends as from Ctrl-C, on every system."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def stop(self) -> None:
        """Interrupt it and wait; kill it and its child processes if it does not end."""
        self.interrupt()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                # It leads a session, so that its id is that of its process group.
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.close()


def _stop(jobs: Iterable[_Job]) -> None:
    """Interrupt all jobs, then wait for each."""
    jobs = list(jobs)
    for job in jobs:
        job.interrupt()
    for job in jobs:
        job.stop()


def _line(number: int, total: int, job: _Job, code: int, seconds: float, left: float) -> str:
    text = f"{number} of {total}: {job.planned.name}, {seconds:.0f} s"
    if code != worker.FINISHED:
        return f"{text}, failed"
    metrics = _outcome(job.planned, None).metrics
    if metrics is None:
        return f"{text}, failed"
    if job.planned.settings.run.test:
        name, value = "test AUC", metrics["test"]["auc"]["value"]
    else:
        name, value = f"validation {metrics['chosen']['metric']}", metrics["chosen"]["value"]
    text += f", {name} undefined" if value is None else f", {name} {value:.3f}"
    return text if number == total else f"{text}; about {_minutes(left)} left"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _runs(n: int) -> str:
    return f"{n} run" + "s" * (n != 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
