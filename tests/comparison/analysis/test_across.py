import dataclasses

import numpy as np
import pytest

from helpers import made_analyses
from mmfusion.comparison.analysis.across import across_datasets
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.metrics.several_datasets import critical_difference, signed_rank


def comparison(dataset: str, name: str | None = None, reference: str = "concat", **aucs: float) -> Comparison:
    methods = [made_analyses.method(label, auc, reference=label == reference) for label, auc in aucs.items()]
    return made_analyses.comparison(methods, dataset=dataset, name=name or dataset, margin=0.01)


def test_ranks_and_tests_over_datasets() -> None:
    over = across_datasets(
        [
            comparison("a", concat=0.8, cfcml=0.9, film=0.7),
            comparison("b", concat=0.8, cfcml=0.85, film=0.85, mbt=0.9),
            comparison("c", concat=0.9, cfcml=0.8, film=0.7),
        ],
        0.95,
    )
    assert over is not None
    assert over.datasets == ("a", "b", "c")
    assert [standing.label for standing in over.methods] == ["cfcml", "concat", "film"]
    assert {standing.label: standing.ranks for standing in over.methods} == {
        "cfcml": (1, 1.5, 2),
        "concat": (2, 3, 1),
        "film": (3, 1.5, 3),
    }
    first, reference, _ = over.methods
    assert (first.rank, first.scores) == (1.5, (0.9, 0.85, 0.8))
    assert first.difference == pytest.approx(0.05 / 3)
    assert first.against == signed_rank(np.array([0.9, 0.85, 0.8]) - np.array([0.8, 0.8, 0.9]), 0.01)
    assert (over.reference, reference.against) == ("concat", None)
    assert np.isnan(reference.difference)
    assert over.only_some == ("mbt",)
    assert over.critical_difference == critical_difference(3, 3)


def test_lower_is_better_metric() -> None:
    made = [comparison(name, concat=0.4, cfcml=0.3) for name in ("a", "b")]
    flipped = [
        dataclasses.replace(
            one,
            metrics=("log_loss",),
            methods=tuple(
                dataclasses.replace(method, scores={"log_loss": method.scores["auc"]}) for method in one.methods
            ),
        )
        for one in made
    ]
    over = across_datasets(flipped, 0.95)
    assert over is not None
    assert [(standing.label, standing.rank) for standing in over.methods] == [("cfcml", 1), ("concat", 2)]
    assert over.methods[0].difference == pytest.approx(0.1)


def test_dataset_with_two_comparisons_is_skipped() -> None:
    frozen, tuned = (comparison("a", name, concat=0.8, cfcml=0.9) for name in ("a, frozen", "a, tuned"))
    others = [comparison(name, concat=0.8, cfcml=0.9) for name in ("b", "c")]
    over = across_datasets([frozen, tuned, *others], 0.95)
    assert over is not None
    assert over.datasets == ("b", "c")
    assert over.left_out == dict.fromkeys(("a, frozen", "a, tuned"), "its dataset, a, has 2 comparisons")
    assert across_datasets([frozen, tuned, others[0]], 0.95) is None


def test_no_common_methods_gives_none() -> None:
    assert across_datasets([comparison("a", concat=0.8, cfcml=0.9), comparison("b", concat=0.8, mbt=0.9)], 0.95) is None
    assert across_datasets([comparison("a", concat=0.8, cfcml=0.9)], 0.95) is None


def test_reference_rows_ablations_and_undefined_scores_are_not_ranked() -> None:
    made = [comparison(name, concat=0.8, cfcml=0.9, part=0.7, row=0.85, lost=0.5) for name in ("a", "b")]
    changes = {
        "part": {"whole": "cfcml"},
        "row": {"is_row": True},
        "lost": {"scores": {"auc": made_analyses.score(np.nan)}},
    }
    made = [
        dataclasses.replace(
            one,
            methods=tuple(dataclasses.replace(method, **changes.get(method.label, {})) for method in one.methods),
        )
        for one in made
    ]
    over = across_datasets(made, 0.95)
    assert over is not None
    assert [standing.label for standing in over.methods] == ["cfcml", "concat"]


def test_without_common_reference_only_ranks() -> None:
    made = [comparison("a", concat=0.8, cfcml=0.9), comparison("b", reference="cfcml", concat=0.8, cfcml=0.9)]
    over = across_datasets(made, 0.95)
    assert over is not None
    assert over.reference is None
    assert all(standing.against is None and np.isnan(standing.difference) for standing in over.methods)
    over = across_datasets(
        [dataclasses.replace(comparison(name, concat=0.8, cfcml=0.9), margin=None) for name in "ab"], 0.95
    )
    assert over is not None
    assert all(standing.against is None for standing in over.methods)
