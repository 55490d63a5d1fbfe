import dataclasses
from typing import Any

import pytest

from helpers import made_analyses
from mmfusion.comparison.analysis.results import Comparison, PairedTest
from mmfusion.comparison.report.chapters import answer
from mmfusion.comparison.report.chapters.chapter import Chapter

NAN = float("nan")


def against(name: str, difference: float, p: float, better: bool | None) -> PairedTest:
    return PairedTest(
        name, "concat", "auc", "cases and seeds", 5, difference, difference - 0.02, difference + 0.02, p, p, better
    )


def comparison(*tests: PairedTest, best: str = "cfcml", **changes: Any) -> Comparison:
    values = {"cfcml": 0.9, "concat": 0.89, "image": 0.8, best: 0.91}
    methods = [made_analyses.method(name, value, reference=name == "concat") for name, value in values.items()]
    methods.sort(key=lambda method: -method.scores["auc"].mean)
    return dataclasses.replace(made_analyses.comparison(methods), tests=tests, **changes)


def said(result: Comparison) -> str:
    return answer.answer(Chapter.of(result, 1, 0.95), "concat")


def test_compared_sentence() -> None:
    result = comparison()
    assert answer.compared(Chapter.of(result, 1, 0.95)) == (
        "3 methods (cfcml, concat and image) on derm7pt: 2 classes, 320 test cases of 300 patients or lesions; 3 "
        "seeds, 9 runs in all."
    )
    folds = dataclasses.replace(result, n_groups=320, folds=5, seeds=(0,), methods=result.methods[:1])
    assert answer.compared(Chapter.of(folds, 1, 0.95)) == (
        "1 method (cfcml) on derm7pt: 2 classes, 320 test cases; 1 seed and 5 folds, 3 runs in all."
    )


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            comparison(against("cfcml", 0.02, 0.0004, True), against("image", -0.09, 0.001, False)),
            "cfcml has the highest AUC, 0.910 (0.898 to 0.922). Against concat, the reference named beforehand, the "
            "difference is +0.020 (0.000 to +0.040), Holm-corrected p < 0.001: chance alone does not explain it. Of "
            "2 methods tested, after correction: 1 better than concat (cfcml), 1 worse than it (image).",
        ),
        (
            comparison(against("cfcml", 0.02, 0.21, None), against("image", -0.09, 0.001, False)),
            "cfcml has the highest AUC, 0.910 (0.898 to 0.922). Against concat, the reference named beforehand, the "
            "difference is +0.020 (0.000 to +0.040), Holm-corrected p = 0.210: it may be chance. Of 2 methods "
            "tested, after correction: 1 worse than concat (image), 1 without a significant difference from it.",
        ),
        (
            comparison(against("cfcml", 0.02, 0.21, None), named="default"),
            "cfcml has the highest AUC, 0.910 (0.898 to 0.922). Against concat, the default reference, the difference "
            "is +0.020 (0.000 to +0.040), Holm-corrected p = 0.210: it may be chance. Of 1 method tested, after "
            "correction: 1 without a significant difference from concat.",
        ),
        (
            comparison(against("cfcml", 0.02, 0.21, None), named="report"),
            "cfcml has the highest AUC, 0.910 (0.898 to 0.922). Against concat, the reference given to this report, "
            "the difference is +0.020 (0.000 to +0.040), Holm-corrected p = 0.210: it may be chance. Of 1 method "
            "tested, after correction: 1 without a significant difference from concat.",
        ),
        (
            comparison(against("cfcml", -0.02, 0.3, None), against("image", -0.09, 0.3, None), best="concat"),
            "The reference concat has the highest AUC, 0.910 (0.898 to 0.922). Of 2 methods tested, after "
            "correction: 2 without a significant difference from concat.",
        ),
        (
            comparison(against("cfcml", 0.02, NAN, None)),
            "There is no verdict on methods: no difference could be tested. Of these runs, cfcml has the highest AUC, "
            "0.910 (0.898 to 0.922); its difference to concat is +0.020 (0.000 to +0.040), an interval for other test "
            "cases and training runs.",
        ),
        (
            comparison(dataclasses.replace(against("cfcml", 0.02, NAN, None), n_runs=1, no_verdict="one seed")),
            "There is no verdict on methods: one seed. Of these runs, cfcml has the highest AUC, 0.910 (0.898 to "
            "0.922); its difference to concat is +0.020 (0.000 to +0.040), an interval for other test cases only.",
        ),
        (
            comparison(
                dataclasses.replace(against("cfcml", 0.002, 0.6, None), p_equal=0.01, p_no_worse=0.005),
                dataclasses.replace(against("image", -0.002, 0.6, None), p_equal=0.3, p_no_worse=0.02),
                margin=0.01,
            ),
            "cfcml has the highest AUC, 0.910 (0.898 to 0.922). Against concat, the reference named beforehand, the "
            "difference is +0.002 (\u22120.018 to +0.022), Holm-corrected p = 0.600: the two count as equal. Of 2 "
            "methods tested, after correction: 1 equal within 0.01 to concat (cfcml), 1 no worse by 0.01 than it "
            "(image).",
        ),
        (
            comparison(reference=None),
            "cfcml has the highest AUC, 0.910 (0.898 to 0.922), but nothing was tested: the reference, concat, is "
            "not among the runs, so no method can be said to be better than another.",
        ),
        (
            made_analyses.bare().comparisons[0],
            "image reaches AUC 0.800. It is the only method, so there is nothing to compare it with.",
        ),
        (
            comparison(metrics=("brier", "auc"), reference=None),
            "cfcml has the lowest Brier score, 0.150 (0.140 to 0.160), but nothing was tested: the reference, "
            "concat, is not among the runs, so no method can be said to be better than another.",
        ),
    ],
)
def test_answer_sentence(result: Comparison, expected: str) -> None:
    assert said(result) == f"At this recipe, without tuning: {expected}"


def test_reference_row_is_not_counted_as_method() -> None:
    """Named for what it is if it is the best."""
    tests = (
        against("cfcml", 0.01, 0.5, None),
        against("image", -0.09, 0.001, False),
        against("boosting", 0.02, 0.2, None),
    )
    result = comparison(*tests, best="boosting")
    methods = tuple(
        dataclasses.replace(method, is_row=method.label == "boosting", family="reference: table")
        for method in result.methods
    )
    result = dataclasses.replace(result, methods=methods)
    assert answer.compared(Chapter.of(result, 1, 0.95)).startswith(
        "3 methods (cfcml, concat and image) and 1 reference row on derm7pt"
    )
    text = said(result)
    assert "boosting, a reference row, has the highest AUC" in text
    assert "Of 2 methods tested, after correction: 1 worse than concat (image)" in text
    # The reason for no verdict is given for the methods.
    few, one = "two seeds are too few", "one seed compares two trained models"
    open_ = tuple(dataclasses.replace(test, no_verdict=one if test.method == "boosting" else few) for test in tests)
    text = said(dataclasses.replace(result, tests=open_))
    assert f"There is no verdict on methods: {few}. Of these runs, boosting, a reference row, has" in text
