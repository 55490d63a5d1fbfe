import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmfusion.comparison import cluster, grid, sweep, worker
from mmfusion.training.reporter import Silent

BASE = {"run": {"device": "cpu"}, "train": {"epochs": 1, "batch_size": 16, "resamples": 50}}


def test_unknown_system_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="system expects one of slurm, local, got 'pbs'"):
        cluster.Cluster("pbs", logs=tmp_path)


def test_slurm_options(tmp_path: Path) -> None:
    launcher = cluster.Cluster("slurm", jobs=3, options={"slurm_partition": "gpu", "timeout_min": 5}, logs=tmp_path)
    assert launcher.options == {
        "name": "mmfusion",
        "timeout_min": 5,
        "slurm_partition": "gpu",
        "slurm_array_parallelism": 3,
    }


def test_preempted_job_is_resubmitted(fakes: ModuleType, tmp_path: Path) -> None:
    submitit = pytest.importorskip("submitit")
    [first] = grid.plan(grid.methods("tiny"), ["tiny"], [BASE], out=tmp_path)
    job = cluster.Job(first, overwrite=True, processes=2)
    again = job.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    # What the first did so far stays: the second goes on with it.
    assert again.function.planned == job.planned == first
    assert again.function.processes == 2
    assert again.function.overwrite is False


@pytest.mark.slow
def test_job_runs_a_run(fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = grid.plan(grid.methods("tiny,tiny[weights=some]"), ["tiny"], [BASE], out=tmp_path)
    monkeypatch.setenv("TINY_OFFLINE", "1")
    assert cluster.Job(good, overwrite=False)() is None
    assert worker.finished(good.folder)
    assert cluster.Job(bad, overwrite=False)() == "these weights cannot be fetched"


def test_missing_submitit_raises(fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    planned = grid.plan(grid.methods("tiny"), ["tiny"], [BASE], out=tmp_path)
    with pytest.raises(ImportError, match=r'pip install "mmfusion\[cluster\]"'):
        cluster.Cluster("local", logs=tmp_path)(planned, Silent(), overwrite=False)


@pytest.mark.slow
def test_local_executor_runs_jobs(tmp_path: Path) -> None:
    """Runs and a failure come back as from our processes, and an unknown option raises an error."""
    pytest.importorskip("submitit")
    small = {
        "run": {"device": "cpu"},
        "train": {"epochs": 1, "resamples": 50},
        "data": {"n_train": 32, "n_validation": 16, "n_test": 16},
    }
    planned = grid.plan(
        grid.methods("tabular,tabular[dim=33]"), ["synthetic_derm7pt"], [small], out=tmp_path / "cluster"
    )
    launcher = cluster.Cluster("local", jobs=2, options={"timeout_min": 10}, logs=tmp_path / "logs")
    outcomes = sweep.sweep(planned, launcher=launcher)
    assert outcomes[0].failure is None
    assert outcomes[1].failure is not None
    assert "33" in outcomes[1].failure
    here = grid.plan(grid.methods("tabular"), ["synthetic_derm7pt"], [small], out=tmp_path / "here")
    [alone] = sweep.sweep(here, launcher=sweep.Here())
    assert alone.metrics is not None
    assert outcomes[0].metrics is not None
    ours, of_reference = (result.metrics["test"]["log_loss"]["value"] for result in (alone, outcomes[0]))
    # Another number of threads, another order of sums.
    assert ours == pytest.approx(of_reference, rel=1e-5)
    with pytest.raises(ValueError, match=r"submitit does not accept the cluster options: .*slurm_partitoin"):
        cluster.Cluster("local", options={"slurm_partitoin": "gpu"}, logs=tmp_path / "logs")(
            planned, Silent(), overwrite=False
        )
