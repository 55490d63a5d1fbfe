"""Runs of a comparison as jobs of a cluster, through submitit."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmfusion.comparison import worker
from mmfusion.comparison.grid import Planned
from mmfusion.comparison.sweep import Processes
from mmfusion.experiments.run import Interrupted
from mmfusion.experiments.settings import Settings
from mmfusion.training.reporter import Reporter, Silent
from mmfusion.utils.optional import need

SYSTEMS = ("slurm", "local")
"""SLURM; or submitit's own processes on this machine, to try a command before it is queued."""

_HOURS = 24


class Job:
    """A run, as a cluster calls it; a job that is taken off its node is queued again and goes on.

    Args:
        planned: The run.
        overwrite: Begin anew.
        processes: That train its model together.
    """

    def __init__(self, planned: Planned, *, overwrite: bool, processes: int = 1) -> None:
        # Plain values: what is queued today may be read by a newer version.
        self.packed = {"label": planned.label, "address": planned.address, "settings": planned.settings.to_dict()}
        self.overwrite = overwrite
        self.processes = processes

    @property
    def planned(self) -> Planned:
        """The run."""
        packed: Any = self.packed
        return Planned(packed["label"], Settings.from_dict(packed["settings"]), packed["address"])

    def __call__(self) -> str | None:
        """Why the run failed; None where it did not."""
        if self.processes > 1:
            launcher = Processes(1, self.processes)
            return dict(launcher([self.planned], Silent(), overwrite=self.overwrite)).get(self.planned.address)
        try:
            worker.work(self.planned.settings, Silent(), overwrite=self.overwrite, wait=True)
        except (ValueError, ImportError) as error:
            return " ".join(str(error).split())
        return None

    def checkpoint(self) -> Any:
        """What submitit queues in its place."""
        return need("submitit.helpers", "cluster").DelayedSubmission(
            Job(self.planned, overwrite=False, processes=self.processes)
        )


class Cluster:
    """Each run a job; all of them are queued at once, as one array where the system has those.

    Args:
        system: One of :data:`SYSTEMS`.
        jobs: Most that run at once; None: as many as the cluster allows, on this machine one.
        processes: That train one model together, on one node.
        options: Of ``submitit.AutoExecutor.update_parameters``: ``timeout_min``, ``mem_gb``, ``cpus_per_task``,
            ``gpus_per_node``, ``slurm_partition``, ``slurm_account`` and so on.
        logs: Folder of submitit's own folders, one per command, which the cluster's nodes must see, as they must the
            runs' folders.

    Raises:
        ValueError: If the system is unknown.
    """

    def __init__(
        self,
        system: str,
        *,
        jobs: int | None = None,
        processes: int = 1,
        options: Mapping[str, Any] | None = None,
        logs: Path,
    ) -> None:
        if system not in SYSTEMS:
            raise ValueError(f"--launcher expects one of {', '.join(SYSTEMS)}, got {system!r}")
        self.system = system
        self.options = {"name": "mmfusion", "timeout_min": _HOURS * 60, **(options or {})}
        if system == "slurm" and jobs is not None:
            self.options.setdefault("slurm_array_parallelism", jobs)
        self.jobs = jobs or 1
        self.processes = processes
        self.logs = logs

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Queues them and waits for them; see :class:`~mmfusion.comparison.sweep.Launcher`.

        Raises:
            ValueError: If an option is not one of submitit's.
            Interrupted: If the user stops waiting; jobs of a cluster go on.
        """
        submitit = need("submitit", "cluster")
        # A new one: submitit unpickles what it finds under a job's number.
        logs = self.logs / uuid.uuid4().hex[:10]
        try:
            executor = submitit.AutoExecutor(folder=logs, cluster=self.system)
            executor.update_parameters(**self.options)
        except (NameError, RuntimeError) as error:
            raise ValueError(f"submitit refuses: {' '.join(str(error).split())}") from error
        work_of = [Job(one, overwrite=overwrite, processes=self.processes) for one in waiting]
        jobs: list[Any] = []
        if self.system == "slurm":
            with executor.batch():
                jobs = [executor.submit(job) for job in work_of]
            reporter.say(f"{len(jobs)} jobs are queued; their logs are in {logs}")
        failures: dict[str, str] = {}
        try:
            for number, one in enumerate(waiting):
                # This machine has no queue of its own.
                while len(jobs) < min(len(waiting), number + self.jobs):
                    jobs.append(executor.submit(work_of[len(jobs)]))
                failure = _result(jobs[number], logs)
                if failure is not None:
                    failures[one.address] = failure
                reporter.say(f"{number + 1} of {len(waiting)}: {one.name}" + (", failed" if failure else ""))
        except KeyboardInterrupt as stop:
            text = "no longer waiting; the jobs go on, and the same command waits for them again"
            if self.system == "local":
                for job in jobs:
                    job.cancel()
                text = "interrupted; the same command goes on from there"
            raise Interrupted(text) from stop
        return failures


def _result(job: Any, logs: Path) -> str | None:
    submitit = need("submitit.core.utils", "cluster")
    try:
        failure: str | None = job.result()
    except (submitit.FailedJobError, submitit.UncompletedJobError) as error:
        words = [line for line in str(error).splitlines() if line.strip("-= ")]
        return f"job {job.job_id}: {words[-1].strip() if words else type(error).__name__}; see {logs}"
    return failure
