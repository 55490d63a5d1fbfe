"""Ensembles of runs, such as the seeds of one method: the mean of their probabilities, decided as one model."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mmfusion.data.frame import FrameDataset
from mmfusion.experiments import folder, held_out_cases, predictions, predictor
from mmfusion.experiments.held_out_cases import Cases
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predicted_table import Outputs, tabulate
from mmfusion.experiments.predictor import Predictor
from mmfusion.metrics.calibration import fit_temperature
from mmfusion.metrics.cases import one_per_group
from mmfusion.metrics.classification import best_threshold
from mmfusion.metrics.conformal import COVERAGE, calibration_scores

REFITTED = "Threshold and temperature are those of the mean probabilities on the validation cases that the runs share"
AVERAGED = (
    "Threshold and temperature are the means of the runs' own, since the folders have no predictions of the same "
    "validation cases"
)


class Ensemble:
    """Mean probabilities of several runs for new cases. Made by :func:`load`.

    Args:
        members: The runs' predictors.
        locked: Threshold and temperature of the mean probabilities.
        about: A sentence on where these come from.

    Raises:
        ValueError: If there are fewer than two, or they differ in classes or columns; names the differences.
    """

    def __init__(self, members: Sequence[Predictor], locked: Locked, about: str = "") -> None:
        if len(members) < 2:
            raise ValueError(f"an ensemble expects at least two runs, got {len(members)}")
        check_alike(members, [f"run {number}" for number in range(1, len(members) + 1)])
        self.members = tuple(members)
        self.locked = locked
        self.about = about
        self.reader, self.spec, self.kind = members[0].reader, members[0].spec, members[0].kind

    def predict(
        self,
        frame: pd.DataFrame,
        image_root: str | Path | None = None,
        missing_images: Literal["error", "absent"] = "error",
        *,
        coverage: float = COVERAGE,
        say: Callable[[str], None] | None = None,
    ) -> pd.DataFrame:
        """As :meth:`Predictor.predict <mmfusion.experiments.predictor.Predictor.predict>`, of the mean probabilities.

        ``missing`` and ``outside`` have what any of the runs lacked: runs of different training sets know other
        categories and ranges. A row for which the output of one run is not finite has neither probabilities nor a
        label.
        """
        datasets = read(self.members, frame, image_root, missing_images)
        outputs = mean_outputs(self.members, datasets, frame, missing_images)
        warn = say or (lambda text: warnings.warn(text, stacklevel=3))
        return tabulate(outputs, frame, self.reader, self.kind, self.locked, warn, coverage)

    def absent(self, frame: pd.DataFrame, missing_images: Literal["error", "absent"] = "error") -> tuple[str, ...]:
        """Modalities that some run uses and all cases lack; see :meth:`.Predictor.absent`."""
        every = [name for member in self.members for name in member.absent(frame, missing_images)]
        return tuple(dict.fromkeys(every))


def load(
    run_folders: Sequence[str | Path], device: str = "auto", *, plugins: Sequence[str | Path] | None = None
) -> Predictor | Ensemble:
    """A predictor of one run, or an ensemble of several.

    Args:
        run_folders: Folders of runs, each once; of several the classes and columns must be the same.
        device: As for :func:`mmfusion.experiments.predictor.load`.
        plugins: Likewise.

    Raises:
        ValueError: If there is no folder, one is given twice, or the runs differ in classes or columns; or as
            :func:`mmfusion.experiments.predictor.load`.
        FileNotFoundError: As there.
    """
    places = [Path(place) for place in run_folders]
    if not places:
        raise ValueError("expected the folder of at least one run, got none")
    resolved = [place.resolve() for place in places]
    if twice := sorted({str(place) for place, path in zip(places, resolved) if resolved.count(path) > 1}):
        raise ValueError(f"each run counts once in an ensemble, got {', '.join(twice)} more than once")
    members = [predictor.load(place, device, plugins=plugins) for place in places]
    if len(members) == 1:
        return members[0]
    check_alike(members, [str(place) for place in places])
    shared = _shared(places, "validation")
    if shared is None:
        return Ensemble(members, _averaged([member.locked or Locked() for member in members]), AVERAGED)
    fixed = {folder.read_settings(place).train.threshold for place in places}
    # A threshold that all settings name is kept, as in a run.
    threshold = fixed.pop() if len(fixed) == 1 else None
    p, y = shared.probabilities, shared.labels
    if members[0].kind.n == 2 and threshold is None:
        threshold = best_threshold(p, y)
    return Ensemble(members, Locked(threshold, fit_temperature(p, y), _shared_scores(members, places)), REFITTED)


def check_alike(members: Sequence[Predictor], names: Sequence[str]) -> None:
    """Check that runs predict the same classes from the same columns.

    Args:
        members: Their predictors.
        names: What they are called in the message.

    Raises:
        ValueError: Naming every run that differs from the first, and how.
    """
    first, faults = members[0], []
    for member, name in zip(members[1:], names[1:]):
        classes = [", ".join(predictions.class_names(one.kind)) for one in (member, first)]
        if classes[0] != classes[1]:
            faults.append(f"{name} has the classes {classes[0]}, {names[0]} has {classes[1]}")
        columns = [_columns(one) for one in (member, first)]
        for modality in dict.fromkeys((*columns[1], *columns[0])):
            own, other = columns[0].get(modality, set()), columns[1].get(modality, set())
            if own != other:
                faults.append(f"{name} reads {modality!r} from {_listed(own)}, {names[0]} from {_listed(other)}")
    if faults:
        raise ValueError(f"runs of an ensemble need the same classes and columns: {'; '.join(faults)}")


def read(
    members: Sequence[Predictor],
    frame: pd.DataFrame,
    image_root: str | Path | None = None,
    missing_images: Literal["error", "absent"] = "error",
) -> list[FrameDataset]:
    """The cases of a table, once for each member; those that read alike share a dataset, so that it is decoded once.

    Args:
        members: The runs' predictors.
        frame: As for :meth:`.Predictor.predict`.
        image_root: Likewise.
        missing_images: Likewise.
    """
    datasets: list[FrameDataset] = []
    unread = [member.unread(frame, missing_images) for member in members]
    for i, member in enumerate(members):
        alike = (j for j in range(i) if members[j].reader == member.reader and unread[j] == unread[i])
        earlier = next(alike, None)
        datasets.append(member.read(frame, image_root, missing_images) if earlier is None else datasets[earlier])
    return datasets


def mean_outputs(
    members: Sequence[Predictor],
    datasets: Sequence[FrameDataset],
    frame: pd.DataFrame,
    missing_images: Literal["error", "absent"] = "error",
) -> Outputs:
    """The mean output of several members, or that of one.

    Args:
        members: The runs' predictors.
        datasets: From :func:`read`.
        frame: The rows that they are of.
        missing_images: As for :meth:`.Predictor.predict`.
    """
    each = [member.outputs(data, frame, missing_images) for member, data in zip(members, datasets, strict=True)]
    return Outputs(
        each[0].ids,
        np.mean([outputs.probabilities for outputs in each], axis=0),
        _united([outputs.missing for outputs in each]),
        _united([outputs.outside for outputs in each]),
        tuple(dict.fromkeys(remark for outputs in each for remark in outputs.remarks)),
    )


def _shared_scores(members: Sequence[Predictor], places: Sequence[Path]) -> tuple[tuple[float, ...], ...]:
    """Conformal scores of the mean probabilities; none if a run has none, or the calibration cases are not the same."""
    cases = _shared(places, "calibration")
    if cases is None or not all(member.locked is not None and member.locked.scores for member in members):
        return ()
    rows = one_per_group(cases.groups.tolist())
    return calibration_scores(cases.probabilities[rows], cases.labels[rows])


def _shared(places: Sequence[Path], part: str) -> Cases | None:
    held_out = [held_out_cases.read(place) for place in places if place.is_dir()]
    if len(held_out) < len(places):  # a file of weights
        return None
    return held_out_cases.mean([None if one is None else one.parts.get(part) for one in held_out])


def _averaged(several: Sequence[Locked]) -> Locked:
    """The mean of what all of them have; None where one has nothing."""
    thresholds = [one.threshold for one in several if one.threshold is not None]
    temperatures = [one.temperature for one in several if one.temperature is not None]
    return Locked(
        float(np.mean(thresholds)) if len(thresholds) == len(several) else None,
        float(np.mean(temperatures)) if len(temperatures) == len(several) else None,
        finished=all(one.finished for one in several),
    )


def _united(several: Sequence[tuple[tuple[str, ...], ...]]) -> tuple[tuple[str, ...], ...]:
    """Of each case the names that any of them has, each once."""
    return tuple(tuple(dict.fromkeys(name for names in row for name in names)) for row in zip(*several, strict=True))


def _columns(member: Predictor) -> dict[str, set[str]]:
    """The columns that each modality is read from."""
    return {modality: set(member.reader.columns_of(modality)) for modality in member.spec.names}


def _listed(columns: set[str]) -> str:
    return ", ".join(map(repr, sorted(columns))) or "no column"
