import dataclasses

import pytest

from helpers import made_analyses
from mmfusion.comparison.analysis.results import Comparison
from mmfusion.comparison.report import pages
from mmfusion.comparison.report.chapters.chapter import Chapter
from mmfusion.comparison.report.chapters.compared import compared
from mmfusion.comparison.report.formatting import MINUS


def markdown_of(comparison: Comparison) -> str:
    return pages.render(made_analyses.analysis(comparison), {})[1]


@pytest.mark.slow
def test_scope_of_tests_is_stated() -> None:
    [comparison] = made_analyses.small().comparisons
    text = markdown_of(comparison)
    assert "for other test cases and other training runs" in text
    assert "AUC alone carries verdicts, from 5 pairs of runs on" in text
    assert "The diamond and the dashed line are the reference named beforehand." in text
    assert "ECE is debiased, and has no interval" in text
    assert "With intervals and differences: 3 tables" in text
    assert "No interval of some differences: most resamples leave it undefined." in text


def test_table_has_values_differences_and_verdicts() -> None:
    [comparison] = made_analyses.small().comparisons
    chapter = Chapter.of(comparison, 1, 0.95)
    tests = [test for test in comparison.tests if test.metric == "auc"]
    table = compared(chapter, chapter.ranked, tests, "concat", "reference")
    sd = [f"{method.scores['auc'].sd:.3f}" for method in comparison.methods]
    assert table.columns == ("method", "verdict", "rank", "AUC", "SD", "difference to concat", "p, Holm")
    assert table.rows == [
        ("cfcml", "better", "1", "0.900 (0.888 to 0.912)", sd[0], "+0.030 (+0.020 to +0.040)", "< 0.001"),
        ("concat (reference)", "", "2", "0.870 (0.858 to 0.882)", sd[1], "", ""),
        (
            "image",
            "worse",
            "3",
            "0.800 (0.788 to 0.812)",
            sd[2],
            f"{MINUS}0.070 ({MINUS}0.080 to {MINUS}0.060)",
            "< 0.001",
        ),
    ]
    assert (table.n_numeric, table.runs, table.strong) == (5, "3 runs", "concat (reference)")
    assert [row[0] for row in table.details] == ["cfcml", "image"]


def test_empty_columns_are_omitted() -> None:
    methods = [made_analyses.method(name, 0.9, runs=1, reference=name == "concat") for name in ("a", "concat")]
    comparison = made_analyses.comparison(methods)
    chapter = Chapter.of(comparison, 1, 0.95)
    assert compared(chapter, methods, [], "concat", "reference").columns == ("method", "rank", "AUC")
    tests = [dataclasses.replace(test, no_verdict="one seed") for test in comparison.tests if test.metric == "auc"]
    table = compared(chapter, methods, tests, "concat", "reference")
    assert table.columns == ("method", "rank", "AUC", "difference to concat")
    # The reason holds for all: no list of them.
    assert (table.details, table.no_verdict) == ([], {"one seed": []})
    families = [dataclasses.replace(methods[0], family="tokens"), methods[1]]
    assert compared(chapter, families, [], None, "reference").rows[0][:2] == ("a", "tokens")


@pytest.mark.slow
def test_single_run_scope_is_cases_only() -> None:
    methods = [
        made_analyses.method(name, value, runs=1, reference=name == "concat")
        for name, value in (("cfcml", 0.9), ("concat", 0.88))
    ]
    comparison = made_analyses.comparison(methods)
    tests = [dataclasses.replace(test, no_verdict="one seed", n_runs=1, kind="cases") for test in comparison.tests]
    text = markdown_of(dataclasses.replace(comparison, tests=tuple(tests)))
    assert "for other test cases only: there is one run per method" in text
    assert "No verdict: one seed." in text
    assert "Ranks have no intervals" in text


@pytest.mark.slow
def test_ablations_have_their_own_section() -> None:
    [comparison] = made_analyses.small().comparisons
    best, *others = comparison.methods
    ablation = dataclasses.replace(
        made_analyses.method("cfcml: no-anchors", 0.99, seed=5), ablation="no-anchors", whole="cfcml"
    )
    ranked = dataclasses.replace(best, ranks=(1, 2))
    test = dataclasses.replace(comparison.tests[0], method=ablation.label, reference="cfcml")
    text = markdown_of(dataclasses.replace(comparison, methods=(ranked, *others, ablation), ablation_tests=(test,)))
    assert "Ablations of cfcml: each is tested against the whole" in text
    before, after = text.split("### Ablations: what does each part bring?")
    assert not [line for line in before.splitlines() if line.startswith("| cfcml: no-anch")]
    assert "| method | verdict | AUC | SD | difference to cfcml | p, Holm |" in after
    assert "1 (1 to 2)" in before


@pytest.mark.slow
def test_origin_of_untested_reference_is_omitted() -> None:
    text = markdown_of(dataclasses.replace(made_analyses.small().comparisons[0], tests=()))
    assert "The diamond and the dashed line are the reference." in text
    assert "There are no tests: no other method has runs that pair with the reference's." in text
