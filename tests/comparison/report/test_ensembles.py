import dataclasses

from helpers import made_analyses
from mmfusion.comparison.analysis.results import Ensemble
from mmfusion.comparison.analysis.scores import Score
from mmfusion.comparison.report.chapters import ensemble_table
from mmfusion.comparison.report.chapters.chapter import Chapter

NAN = float("nan")


def score(value: float) -> Score:
    return Score(value, NAN, value - 0.01, value + 0.02, 0.01, (value,))


def test_ensembles_are_sorted_with_gain() -> None:
    methods = [made_analyses.method(name, value) for name, value in (("cfcml", 0.9), ("concat", 0.89), ("max", 0.8))]
    comparison = made_analyses.comparison(methods)
    assert ensemble_table.part(Chapter.of(comparison, 1, 0.95)) is None
    found = (
        Ensemble("concat", (5,), {"auc": score(0.91)}, {"auc": 0.89}),
        Ensemble("max", (5,), {"auc": score(NAN)}, {"auc": NAN}),
        Ensemble("cfcml", (2, 5), {"auc": score(0.92)}, {"auc": 0.925}),
    )
    part = ensemble_table.part(Chapter.of(dataclasses.replace(comparison, ensembles=found), 1, 0.95))
    assert part is not None
    assert [row[:2] for row in part.values["rows"]] == [("cfcml", "2-5"), ("concat", "5"), ("max", "5")]
    assert part.values["rows"][1][2:] == ("0.910 (0.900 to 0.930)", "0.890", "+0.020")
    assert [method.label for method in part.methods] == ["cfcml", "concat", "max"]
