"""Runs all runs of a comparison: finished ones are kept, interrupted ones go on, the others begin; several at once.

Each is a process of its own: one that fails, or is killed for memory, takes none of the others with it, and its peak of
memory is its own.
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
from mmfusion.experiments import folder
from mmfusion.experiments.run import Interrupted
from mmfusion.training.reporter import Reporter, Silent

_LOOK_EVERY = 0.2
_PATIENCE = 120.0

_IN_THE_TABLE = (
    *(("test", "auc", key) for key in ("value", "low", "high")),
    ("ceilings",),
    ("cost", "parameters", "total"),
    ("cost", "seconds"),
)


class SweepError(ValueError):
    """Some of the runs failed; the others are finished."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        planned: The run.
        metrics: The content of its ``metrics.json``; None where it failed.
        failure: Why it failed; None where it is finished.
    """

    planned: Planned
    metrics: Mapping[str, Any] | None
    failure: str | None


class Launcher(Protocol):
    """Where runs are computed."""

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Bring them to their end.

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
    """Bring every run of a comparison to its end.

    Args:
        planned: From :func:`~mmfusion.comparison.grid.plan`.
        reporter: Told of the progress.
        launcher: Where they are computed; None: one after another, in :class:`Processes`.
        overwrite: Begin finished and interrupted ones anew.

    Returns:
        One a run, in the order of ``planned``. A finished one that another version wrote, or that cannot be read,
        counts as failed and stays as it is.

    Raises:
        Interrupted: If the user stops it; the same call goes on from there.
    """
    reporter = reporter or Silent()
    there = {one.address: _outcome(one, None) for one in planned if worker.finished(one.folder) and not overwrite}
    done = [outcome for outcome in there.values() if outcome.failure is None]
    waiting = [one for one in planned if one.address not in there]
    begun = sum((one.folder / folder.SETTINGS).is_file() for one in waiting)
    if overwrite:
        begun = 0
    broken = f", {n} that cannot be read" if (n := len(there) - len(done)) else ""
    reporter.say(
        f"{_runs(len(planned))}: {len(done)} finished already, {begun} to go on with, {len(waiting) - begun} to begin"
        f"{broken}"
    )
    if bare := sum(_lacks_robustness(outcome) for outcome in done):
        reporter.say(
            f"{_runs(bare)} finished without robustness (run.robustness=false): --overwrite begins all runs anew, and "
            "then tells it"
        )
    launcher = launcher or Processes()
    failures = launcher(waiting, reporter, overwrite=overwrite) if waiting else {}
    outcomes = [there.get(one.address) or _outcome(one, failures.get(one.address)) for one in planned]
    for outcome in outcomes:
        if outcome.failure:
            reporter.say(f"{outcome.planned.name} failed: {outcome.failure}")
    return outcomes


def check(outcomes: Sequence[Outcome]) -> None:
    """Raise what failed.

    Raises:
        SweepError: Naming all of it.
    """
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed:
        reasons = "; ".join(f"{outcome.planned.name}: {outcome.failure}" for outcome in failed)
        raise SweepError(f"{len(failed)} of {_runs(len(outcomes))} failed: {reasons}")


def _outcome(planned: Planned, failure: str | None) -> Outcome:
    if failure is not None or not worker.finished(planned.folder):
        return Outcome(planned, None, failure or "it did not finish")
    try:
        return Outcome(planned, _metrics(planned.folder), None)
    except (ValueError, OSError) as error:
        again = f"delete {planned.folder} to have it run again, or begin all runs anew with --overwrite"
        return Outcome(planned, None, f"{' '.join(str(error).split())}; {again}")


def _metrics(place: Path) -> Mapping[str, Any]:
    """Those of a finished run, with all that the table of a sweep has."""
    metrics = reading.read_metrics(place)
    for keys in _IN_THE_TABLE:
        found: Any = metrics
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise ValueError(f"{folder.METRICS} has no {'.'.join(keys)}")
            found = found[key]
        if not (found is None or isinstance(found, int | float | dict)) or isinstance(found, dict) != (
            keys == ("ceilings",)
        ):
            raise ValueError(f"{folder.METRICS}: {'.'.join(keys)} is not what a run writes, got {found!r:.80}")
    return metrics


def _lacks_robustness(outcome: Outcome) -> bool:
    asked, metrics = outcome.planned.settings.run.robustness, outcome.metrics or {}
    return asked and "robustness" not in metrics and reading.find(outcome.planned.folder, folder.ROBUSTNESS) is None


class Here:
    """One after another in this process."""

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Runs them; see :class:`Launcher`."""
        failures: dict[str, str] = {}
        for number, one in enumerate(waiting, start=1):
            reporter.say(f"{one.name} ({number} of {len(waiting)})")
            try:
                worker.work(one.settings, reporter, overwrite=overwrite, wait=True)
            except Interrupted as stop:
                raise Interrupted(f"interrupted at {one.name}; the same command goes on from there") from stop
            except (ValueError, ImportError, OSError) as error:
                failures[one.address] = " ".join(str(error).split())
        return failures


class Processes:
    """Each in a process of its own, several at once.

    With several at once each gets its share of the cores (``OMP_NUM_THREADS``, unless that is set) and, in turn, one of
    the GPUs; what they say goes to ``.logs/`` beside their folders.

    Args:
        jobs: Most at once.
        processes: That train one model together, each with a GPU of its own where there are several; see
            :mod:`mmfusion.training.processes`.

    Raises:
        ValueError: If one of them is less than 1.
    """

    def __init__(self, jobs: int = 1, processes: int = 1) -> None:
        for name, value in (("jobs", jobs), ("processes", processes)):
            if value < 1:
                raise ValueError(f"--{name} expects at least 1, got {value}")
        self.jobs = jobs
        self.processes = processes

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Runs them; see :class:`Launcher`."""
        queue, elsewhere = deque(waiting), list[Planned]()
        running: dict[int, _Job] = {}
        failures: dict[str, str] = {}
        seconds: list[float] = []
        total, number, wait = len(waiting), 0, False
        try:
            while queue or running or elsewhere:
                if not queue and not running:
                    # What other processes had at first: theirs to end, ours to wait for.
                    reporter.say(f"waiting for {_runs(len(elsewhere))} that other processes have")
                    queue, elsewhere = deque(elsewhere), []
                    overwrite, wait = False, True
                while queue and len(running) < self.jobs:
                    slot = min(set(range(self.jobs)) - set(running))
                    running[slot] = self._begin(queue.popleft(), slot, overwrite=overwrite, wait=wait)
                time.sleep(_LOOK_EVERY)
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
            raise Interrupted(f"interrupted at {names}; the same command goes on from there") from stop
        except BaseException:
            _stop(running.values())
            raise
        return failures

    def _begin(self, planned: Planned, slot: int, *, overwrite: bool, wait: bool) -> "_Job":
        home = planned.folder.parent / ".logs"
        orders = home / f"{planned.folder.name}.json"
        worker.dump(worker.order(planned.settings, overwrite=overwrite, wait=wait), orders)
        log = home / f"{planned.folder.name}.log"
        file = log.open("wb")
        process = subprocess.Popen(
            worker.command(orders, self.processes, planned.settings.run.plugins),
            # Ends when this process does, however it ends.
            stdin=subprocess.PIPE,
            # One at a time shows its progress; several would talk at once.
            stdout=None if self.jobs == 1 else file,
            stderr=file,
            env=self._environment(slot),
            # Ctrl-C comes here alone, and is passed on.
            start_new_session=True,
        )
        return _Job(planned, process, file, log, time.monotonic())

    def _environment(self, slot: int) -> dict[str, str]:
        import torch

        environment = dict(os.environ)
        if not {"", os.getcwd()} & set(sys.path):
            # Nor does a run import what lies in the working folder.
            environment["PYTHONSAFEPATH"] = "1"
        each = self.processes
        if self.jobs * each == 1:
            return environment
        environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // (self.jobs * each))))
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(device) for device in range(torch.cuda.device_count())]
        if len(names) > 1:
            own = [names[(slot * each + number) % len(names)] for number in range(min(each, len(names)))]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(own)
        return environment


@dataclass(frozen=True)
class _Job:
    planned: Planned
    process: "subprocess.Popen[bytes]"
    file: Any
    log: Path
    began: float

    def reason(self, code: int) -> str:
        """The last words of a process that failed."""
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines()]
        told = next((line for line in reversed(lines) if line.startswith("mmfusion: ")), "")
        if told:
            return told.removeprefix("mmfusion: ").removeprefix("error: ")
        last = next((line for line in reversed(lines) if line), "")
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}; see {self.log}"
        return f"{last or f'its process ended with code {code}'}; see {self.log}"

    def close(self) -> None:
        """Let go of what belongs to a process that ended."""
        self.file.close()
        if self.process.stdin is not None:
            self.process.stdin.close()

    def ask(self) -> None:
        """To end as from Ctrl-C, which the end of its input tells it, on every system and in each of its processes."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def stop(self) -> None:
        """Wait for that; by force where it does not help, what it has begun itself with it."""
        self.ask()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                # It leads a session, so that its number is that of its group.
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.close()


def _stop(jobs: Iterable[_Job]) -> None:
    """All at once, so that none goes on while another is waited for."""
    jobs = list(jobs)
    for job in jobs:
        job.ask()
    for job in jobs:
        job.stop()


def _line(number: int, total: int, job: _Job, code: int, seconds: float, left: float) -> str:
    text = f"{number} of {total}: {job.planned.name}, {seconds:.0f} s"
    if code != worker.FINISHED:
        return f"{text}, failed"
    metrics = _outcome(job.planned, None).metrics
    if metrics is None:
        return f"{text}, failed"
    auc = metrics["test"]["auc"]["value"]
    text += ", test AUC undefined" if auc is None else f", test AUC {auc:.3f}"
    return text if number == total else f"{text}; about {_minutes(left)} left"


def _minutes(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _runs(n: int) -> str:
    return f"{n} run" + "s" * (n != 1)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
