import json
from pathlib import Path

import numpy as np
import pytest

from mmfusion.experiments import folder, locked
from mmfusion.experiments.locked import Locked
from mmfusion.experiments.predicted_table import NO_TEMPERATURE, NO_THRESHOLD, UNFINISHED, lacking
from mmfusion.metrics.calibration import apply_temperature
from mmfusion.spec import Classes

P = np.array([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]])


@pytest.mark.parametrize(
    ("threshold", "labels"), [(None, [0, 0, 1]), (0.5, [0, 1, 1]), (0.2, [1, 1, 1]), (0.95, [0, 0, 0]), (0, [1, 1, 1])]
)
def test_second_class_is_predicted_from_threshold(threshold: float | None, labels: list[int]) -> None:
    assert Locked(threshold).labels(P).tolist() == labels
    # Of more classes the likeliest, whatever the threshold.
    assert Locked(threshold).labels(np.array([[0.3, 0.3, 0.4]])).tolist() == [2]


def test_confidence_is_distance_from_threshold() -> None:
    np.testing.assert_allclose(Locked(0.2).confidence(P), [0, 0.375, 0.875])
    np.testing.assert_allclose(Locked(0.8).confidence(P), [0.75, 0.375, 0.5])
    np.testing.assert_allclose(Locked(None).confidence(P), [0.8, 0.5, 0.9])
    for end in (0.0, 1.0):
        assert np.isfinite(Locked(end).confidence(np.array([[1.0, 0.0], [0.0, 1.0]]))).all()


def test_temperature_does_not_change_labels() -> None:
    calibrated = Locked(0.2, 2.0).calibrated(P)
    assert calibrated is not None
    np.testing.assert_array_equal(calibrated, apply_temperature(P, 2.0))
    assert Locked(0.2).calibrated(P) is None


def test_locked_file_takes_precedence_over_metrics(tmp_path: Path) -> None:
    assert locked.read(tmp_path) == Locked(finished=False)
    (tmp_path / folder.METRICS).write_text('{"format": 1, "threshold": 0.25, "temperature": 2, "test": {}}')
    assert locked.read(tmp_path) == Locked(0.25, 2.0)
    (tmp_path / folder.LOCKED).write_text(json.dumps(Locked(None, 0.5).to_dict()))
    assert locked.read(tmp_path) == Locked(None, 0.5)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('{"format": 1, "threshold": 1.5}', "threshold expects a number from 0 to 1, got 1.5"),
        ('{"format": 1, "temperature": 0}', "temperature expects a number from 0.05 to 20.0, got 0"),
        ('{"format": 1, "temperature": "warm"}', r"locked\.json\.temperature expects float or none, got 'warm'"),
        ('{"format": 2}', "has format 2, this version of mmfusion reads up to 1"),
        ("[]", "expects an object"),
        ("{", "is not valid JSON"),
    ],
)
def test_damaged_file_raises_with_its_name(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / folder.LOCKED).write_text(content)
    with pytest.raises(ValueError, match=rf"locked\.json .*{fault}") as caught:
        locked.read(tmp_path)
    assert folder.METRICS not in str(caught.value)


@pytest.mark.parametrize(
    ("known", "n", "sentences"),
    [
        (Locked(0.5, 1.0), 2, []),
        (Locked(None, 1.0), 3, []),
        (Locked(None, 1.0), 2, [NO_THRESHOLD]),
        (Locked(0.5), 2, [NO_TEMPERATURE]),
        (Locked(), 3, [NO_TEMPERATURE]),
        (Locked(), 2, [NO_TEMPERATURE, NO_THRESHOLD]),
        (Locked(finished=False), 2, [UNFINISHED]),
        (Locked(finished=False), 3, [UNFINISHED]),
    ],
)
def test_missing_threshold_or_temperature_is_reported(known: Locked, n: int, sentences: list[str]) -> None:
    assert lacking(known, Classes(n)) == sentences
