from pathlib import Path

import numpy as np
import pytest

from helpers import run_folders
from mmfusion.comparison.analysis import analyse
from mmfusion.comparison.analysis.judged import Judged, judge
from mmfusion.comparison.analysis.resampling import sample
from mmfusion.comparison.analysis.results import Method
from mmfusion.comparison.analysis.subgroups import shared, shared_rows, subgroup_rows
from mmfusion.comparison.collect import collect
from mmfusion.comparison.reading import read
from mmfusion.metrics.classification import evaluate
from mmfusion.metrics.shared_classes import LEAST, Shared

NAMES = ("a", "b", "c")


def with_subgroups(place: Path, of_case: list[str], *, n: int = 90, seed: int = 0, strength: float = 1.5) -> Path:
    frame = run_folders.predictions(n=n, names=NAMES, seed=seed, strength=strength)
    ids = frame.loc[frame["part"] == "test", "id"]
    lines = "\n".join(f"{i},{value}" for i, value in zip(ids, of_case))
    return run_folders.write(place, frame=frame, seed=seed, files={"subgroups.csv": f"id,site\n{lines}\n"})


def assigned(judged: Judged, counts: dict[str, tuple[int, int, int]]) -> list[str]:
    """A subgroup for each test case, so that each has as many of every class as wanted; the rest are in none."""
    labels, out = judged.cases.labels, [""] * len(judged.cases)
    for c in range(len(NAMES)):
        rows = iter(np.flatnonzero(labels == c).tolist())
        for value, wanted in counts.items():
            for _ in range(wanted[c]):
                out[next(rows)] = value
    return out


def judged_of(path: Path, counts: dict[str, tuple[int, int, int]]) -> Judged:
    plain = judge(read(with_subgroups(path / "plain", [""] * 90)))
    return judge(read(with_subgroups(path / "run", assigned(plain, counts))))


@pytest.mark.slow
def test_classes_with_enough_cases_in_every_subgroup(tmp_path: Path) -> None:
    judged = judged_of(tmp_path, {"north": (LEAST, LEAST, 1), "south": (12, 11, 4), "west": (LEAST - 1, 1, 9)})
    of_property = shared([judged])
    # West has too few of two classes, and the third is too rare in the others.
    assert of_property == {"site": Shared(("north", "south"), (0, 1))}
    rows = shared_rows(judged, of_property)
    assert {value: len(at) for (_, value), at in rows.items()} == {"north": 2 * LEAST, "south": 23}
    assert len(subgroup_rows(judged)["site", "west"]) == LEAST + 9


@pytest.mark.parametrize(
    "counts",
    [
        {"north": (10, 10, 0), "south": (0, 10, 10)},
        {"north": (20, 20, 20)},
        {"north": (10, 10, 10), "unknown": (10, 10, 10)},
        {"north": (9, 9, 9), "south": (9, 9, 9)},
    ],
    ids=["one class in common", "one subgroup", "the unknown", "too few"],
)
def test_too_small_subgroups_are_not_compared(tmp_path: Path, counts: dict[str, tuple[int, int, int]]) -> None:
    judged = judged_of(tmp_path, counts)
    assert shared([judged]) == {"site": Shared((), ())}
    assert shared_rows(judged, shared([judged])) == {}


def test_metrics_use_shared_classes_only(tmp_path: Path) -> None:
    judged = judged_of(tmp_path, {"north": (10, 10, 3), "south": (12, 11, 4)})
    [result] = sample([judged], n_resamples=20, seed=0)
    rows = shared_rows(judged, shared([judged]))["site", "south"]
    assert set(judged.cases.labels[rows].tolist()) == {0, 1}
    expected = evaluate(judged.cases.probabilities[rows], judged.cases.labels[rows], names=NAMES)["auc"][0]
    assert result.subgroups["site", "south"]["auc"].value == pytest.approx(expected)


@pytest.mark.slow
def test_gap_is_between_best_and_worst(tmp_path: Path) -> None:
    plain = judge(read(with_subgroups(tmp_path / "plain", [""] * 90)))
    sites = assigned(plain, {"north": (11, 11, 11), "south": (10, 10, 10), "west": (1, 1, 1)})
    for seed in range(3):
        with_subgroups(tmp_path / "runs" / str(seed), sites, seed=seed)
    method: Method = analyse(collect([tmp_path / "runs"]).runs, n_resamples=200).comparisons[0].methods[0]
    means = {one.value: one.scores["auc"].mean for one in method.subgroups}
    assert np.isnan(means["west"])
    [gap] = method.gaps
    assert gap.classes == NAMES
    assert {gap.worst, gap.best} == {"north", "south"}
    assert gap.difference == pytest.approx(abs(means["north"] - means["south"]))
    assert means[gap.best] >= means[gap.worst]
    assert gap.low < gap.difference < gap.high
