from pathlib import Path

import numpy as np
import pytest

from mmfusion.benchmark import references
from mmfusion.benchmark.analysis import analyse
from mmfusion.benchmark.collect import collect
from mmfusion.registry import datasets

DATA = {"size": 32, "n_train": 120, "n_validation": 30, "n_test": 60}


@pytest.mark.slow
def test_reference_rows_are_read_as_runs(tmp_path: Path) -> None:
    bundle = datasets.create("synthetic-derm7pt", **DATA)
    places = references.write(bundle, tmp_path, data=DATA, seed=1, resamples=20)
    found = collect([tmp_path])
    assert not found.skipped
    assert {run.folder for run in found.runs} == set(places)
    for run in found.runs:
        assert (run.row, run.seed, run.n_train) == ("scikit-learn", 1, 120)
        assert run.settings.data == DATA
        assert run.test.ids.tolist() == [str(case) for case in bundle.test.ids]
        np.testing.assert_array_equal(run.test.labels, bundle.test.labels("label").numpy())
    [comparison] = analyse(found.runs, n_resamples=50).comparisons
    assert {method.label for method in comparison.methods} == {"logistic regression", "gradient boosting"}
    assert all(method.is_row and method.beyond is None for method in comparison.methods)
    stored = {run.model: run.metrics["test"]["auc"]["value"] for run in found.runs}
    assert {method.label: method.scores["auc"].mean for method in comparison.methods} == pytest.approx(stored)
    # A second call leaves them as they are.
    before = [(place / "metrics.json").stat().st_mtime_ns for place in places]
    assert references.write(bundle, tmp_path, data=DATA, seed=1) == places
    assert [(place / "metrics.json").stat().st_mtime_ns for place in places] == before
