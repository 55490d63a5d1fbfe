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
"""SLURM; or submitit's processes on this machine, to try a command before it is queued."""

_HOURS = 24


class Job:
    """A run as a job of a cluster; a preempted job is queued again and resumes.

    Args:
        planned: The run.
        overwrite: Start anew.
        processes: Number of processes that train the model together.
    """

    def __init__(self, planned: Planned, *, overwrite: bool, processes: int = 1) -> None:
        # Plain values: a newer version of the package may read the queued job.
        self.packed = {"label": planned.label, "address": planned.address, "settings": planned.settings.to_dict()}
        self.overwrite = overwrite
        self.processes = processes

    @property
    def planned(self) -> Planned:
        """The run."""
        packed: Any = self.packed
        return Planned(packed["label"], Settings.from_dict(packed["settings"]), packed["address"])

    def __call__(self) -> str | None:
        """Reason why the run failed; None if it finished."""
        if self.processes > 1:
            launcher = Processes(1, self.processes)
            return dict(launcher([self.planned], Silent(), overwrite=self.overwrite)).get(self.planned.address)
        try:
            worker.work(self.planned.settings, Silent(), overwrite=self.overwrite, wait=True)
        except (ValueError, ImportError) as error:
            return " ".join(str(error).split())
        return None

    def checkpoint(self) -> Any:
        """Job that submitit queues in place of this one."""
        return need("submitit.helpers", "cluster").DelayedSubmission(
            Job(self.planned, overwrite=False, processes=self.processes)
        )


class Cluster:
    """Launcher that queues each run as a job, all at once, on SLURM as one array.

    Args:
        system: One of :data:`SYSTEMS`.
        jobs: Largest number of jobs that run at once; None: as many as the cluster allows, on this machine one.
        processes: Number of processes that train one model together, on one node.
        options: Options of ``submitit.AutoExecutor.update_parameters``: ``timeout_min``, ``mem_gb``, ``cpus_per_task``,
            ``gpus_per_node``, ``slurm_partition``, ``slurm_account`` and so on.
        logs: Folder for submitit's folders, one per command. The cluster's nodes must have access to it and to the
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
            raise ValueError(f"system expects one of {', '.join(SYSTEMS)}, got {system!r}")
        self.system = system
        self.options = {"name": "mmfusion", "timeout_min": _HOURS * 60, **(options or {})}
        if system == "slurm" and jobs is not None:
            self.options.setdefault("slurm_array_parallelism", jobs)
        self.jobs = jobs or 1
        self.processes = processes
        self.logs = logs

    def __call__(self, waiting: Sequence[Planned], reporter: Reporter, *, overwrite: bool) -> Mapping[str, str]:
        """Queue the runs and wait for them; see :class:`~mmfusion.comparison.sweep.Launcher`.

        Raises:
            ValueError: If an option is not one of submitit's.
            Interrupted: If the user stops waiting; jobs of a cluster continue.
        """
        submitit = need("submitit", "cluster")
        # A new folder per command: submitit unpickles any file with a job's number.
        logs = self.logs / uuid.uuid4().hex[:10]
        try:
            executor = submitit.AutoExecutor(folder=logs, cluster=self.system)
            executor.update_parameters(**self.options)
        except (NameError, RuntimeError) as error:
            raise ValueError(f"submitit does not accept the cluster options: {' '.join(str(error).split())}") from error
        calls = [Job(planned, overwrite=overwrite, processes=self.processes) for planned in waiting]
        jobs: list[Any] = []
        if self.system == "slurm":
            with executor.batch():
                jobs = [executor.submit(call) for call in calls]
            reporter.say(f"{len(jobs)} jobs are queued; their logs are in {logs}")
        failures: dict[str, str] = {}
        try:
            for number, planned in enumerate(waiting):
                # This machine has no queue.
                while len(jobs) < min(len(waiting), number + self.jobs):
                    jobs.append(executor.submit(calls[len(jobs)]))
                failure = _result(jobs[number], logs)
                if failure is not None:
                    failures[planned.address] = failure
                reporter.say(f"{number + 1} of {len(waiting)}: {planned.name}" + (", failed" if failure else ""))
        except KeyboardInterrupt as stop:
            text = "no longer waiting; the jobs continue, and the same command waits for them again"
            if self.system == "local":
                for job in jobs:
                    job.cancel()
                text = "interrupted; the same command resumes"
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
