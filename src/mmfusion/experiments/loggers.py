"""Loggers of a run: TensorBoard, MLflow, Weights & Biases; each package is imported when a run begins."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmfusion.training.callbacks import Callback, Entry, numbers, results
from mmfusion.utils.optional import need


class TensorBoardLogger(Callback):
    """Scalars per epoch, the settings as text, and the test metrics, for ``tensorboard --logdir``.

    Args:
        folder: Of the event files; a resumed run adds to them.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._last = 0
        self._writer: Any = None

    def begin(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Open the event file.

        Raises:
            ImportError: If tensorboard is not installed.
        """
        self._writer = need("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(self.folder))
        lines = [f"{name}: {value}" for name, value in _flat(settings).items()]
        self._writer.add_text("settings", "  \n".join(lines))

    def epoch(self, entry: Entry) -> None:
        """Add the epoch's scalars."""
        self._last = entry["epoch"]
        for name, value in numbers(entry).items():
            self._writer.add_scalar(name, value, self._last)
        self._writer.flush()

    def end(self, metrics: Mapping[str, Any] | None) -> None:
        """Add the test metrics and close the file."""
        if self._writer is None:  # it could not begin
            return
        for name, value in (results(metrics) if metrics else {}).items():
            self._writer.add_scalar(name, value, self._last)
        self._writer.close()


class MLflowLogger(Callback):
    """A run of MLflow: settings as parameters, metrics per epoch, and the test metrics.

    Args:
        tracking_uri: Of the server or the store; None: as MLflow is configured. A store of files, ``file:...``, needs
            the environment variable ``MLFLOW_ALLOW_FILE_STORE=true``.
        experiment: Its name; made if there is none.
        run_name: Of the run; None: MLflow makes one up.
        run_id: A run to continue, as after an interruption; None: a new one.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str = "mmfusion",
        *,
        run_name: str | None = None,
        run_id: str | None = None,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.run_name = run_name
        self.run_id = run_id
        self._last = 0
        self._client: Any = None

    def begin(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin or continue the run; its id is in ``run_id``.

        Raises:
            ImportError: If MLflow is not installed.
        """
        self._client = need("mlflow", "mlflow").MlflowClient(tracking_uri=self.tracking_uri)
        if self.run_id is not None:
            self._client.update_run(self.run_id, "RUNNING")
            return
        known = self._client.get_experiment_by_name(self.experiment)
        place = self._client.create_experiment(self.experiment) if known is None else known.experiment_id
        self.run_id = self._client.create_run(place, run_name=self.run_name).info.run_id
        for name, value in {**_flat(settings), "folder": str(folder)}.items():
            self._client.log_param(self.run_id, name, str(value)[:_LONGEST])

    def epoch(self, entry: Entry) -> None:
        """Log the epoch's metrics."""
        self._last = entry["epoch"]
        self._log(numbers(entry))

    def end(self, metrics: Mapping[str, Any] | None) -> None:
        """Log the test metrics and end the run."""
        if self._client is None or self.run_id is None:  # it could not begin
            return
        if metrics:
            self._log(results(metrics))
        self._client.set_terminated(self.run_id, "FINISHED" if metrics else "FAILED")

    def _log(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self.run_id, name, value, step=self._last)


class WandbLogger(Callback):
    """A run of Weights & Biases: settings as its config, metrics per epoch, and the test metrics as its summary.

    Args:
        options: Of ``wandb.init``, such as ``project``, ``name``, ``mode="offline"``, or ``id`` with
            ``resume="allow"`` to continue a run.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._run: Any = None

    def begin(self, folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin the run.

        Raises:
            ImportError: If wandb is not installed.
        """
        self._run = need("wandb", "wandb").init(**{"config": _flat(settings), **self.options})

    def epoch(self, entry: Entry) -> None:
        """Log the epoch's metrics."""
        self._run.log(numbers(entry), step=entry["epoch"])

    def end(self, metrics: Mapping[str, Any] | None) -> None:
        """Add the test metrics and end the run."""
        if self._run is None:  # it could not begin
            return
        if metrics:
            self._run.summary.update(results(metrics))
        self._run.finish(exit_code=0 if metrics else 1)


_LONGEST = 6000
"""Characters of a parameter that MLflow takes."""


def _flat(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{section}.{key}": value for section, values in settings.items() for key, value in values.items()}
